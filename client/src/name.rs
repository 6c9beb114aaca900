/// The reason for which the name of a queue or department is not valid.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is not in a form of a queue name.
    #[error(
        "{0:?} names no queue; write DEPARTMENT/QUEUE or tenants/TENANT/departments/DEPARTMENT/queues/QUEUE"
    )]
    Queue(String),
    /// The text is not in a form of a department name.
    #[error("{0:?} names no department; write DEPARTMENT or tenants/TENANT/departments/DEPARTMENT")]
    Department(String),
    /// A part of the name has wrong characters, or a wrong length.
    #[error("{0:?} cannot be part of a name; names are 1 to 63 of a-z, 0-9 and '-'")]
    Part(String),
    /// The short form needs a tenant, and the context has none.
    #[error("{0:?} needs a tenant; add `tenant` to the context or write the full resource name")]
    NoTenant(String),
}

/// Returns the full resource name of a queue: of `DEPARTMENT/QUEUE`, or of a full name.
pub(crate) fn queue(name: &str, tenant: Option<&str>) -> Result<String, NameError> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        ["tenants", tenant, "departments", department, "queues", queue] => full(tenant, department, queue),
        [department, queue] => {
            full(tenant.ok_or_else(|| NameError::NoTenant(name.to_owned()))?, department, queue)
        }
        _ => Err(NameError::Queue(name.to_owned())),
    }
}

/// Returns the full resource name of a department: of `DEPARTMENT`, or of a full name.
pub(crate) fn department(name: &str, tenant: Option<&str>) -> Result<String, NameError> {
    let parts: Vec<&str> = name.split('/').collect();
    let (tenant, department) = match parts[..] {
        ["tenants", tenant, "departments", department] => (tenant, department),
        [department] => (tenant.ok_or_else(|| NameError::NoTenant(name.to_owned()))?, department),
        _ => return Err(NameError::Department(name.to_owned())),
    };
    Ok(format!("tenants/{}/departments/{}", part(tenant)?, part(department)?))
}

fn full(tenant: &str, department: &str, queue: &str) -> Result<String, NameError> {
    Ok(format!("tenants/{}/departments/{}/queues/{}", part(tenant)?, part(department)?, part(queue)?))
}

fn part(part: &str) -> Result<&str, NameError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=63).contains(&part.len()) && part.bytes().all(allowed) {
        Ok(part)
    } else {
        Err(NameError::Part(part.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{NameError, department, queue};

    #[test]
    fn both_forms_of_a_queue() {
        let full = "tenants/civil-affairs/departments/identity-cards/queues/applications";
        assert_eq!(queue("identity-cards/applications", Some("civil-affairs")).as_deref(), Ok(full));
        assert_eq!(queue(full, None).as_deref(), Ok(full));
        assert_eq!(queue(full, Some("taxation")).as_deref(), Ok(full));
    }

    #[test]
    fn wrong_names_are_refused() {
        assert!(matches!(queue("applications", Some("t")), Err(NameError::Queue(_))));
        assert!(matches!(queue("a/b", None), Err(NameError::NoTenant(_))));
        for bad in ["A/b", "a/", "/b", "a/b c", "a/b..", "a/Ü"] {
            assert!(matches!(queue(bad, Some("t")), Err(NameError::Part(_))), "{bad}");
        }
        assert!(matches!(queue(&format!("a/{}", "b".repeat(64)), Some("t")), Err(NameError::Part(_))));
    }

    #[test]
    fn both_forms_of_a_department() {
        assert_eq!(department("d", Some("t")).as_deref(), Ok("tenants/t/departments/d"));
        assert_eq!(department("tenants/t/departments/d", None).as_deref(), Ok("tenants/t/departments/d"));
        assert!(matches!(department("d/q", Some("t")), Err(NameError::Department(_))));
    }
}
