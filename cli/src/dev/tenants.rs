//! The sample tenants.

/// An agency and its departments.
#[derive(Debug, Clone, Copy)]
pub struct SampleTenant {
    /// The tenant's name; its context has the same.
    pub name: &'static str,
    /// The departments that the server creates.
    pub departments: &'static [&'static str],
}

/// What `posthouse dev` declares.
pub const SAMPLE_TENANTS: &[SampleTenant] = &[
    SampleTenant { name: "civil-affairs", departments: &["household-registry", "identity-cards"] },
    SampleTenant { name: "public-security", departments: &["driving-licences"] },
    SampleTenant { name: "taxation", departments: &["returns"] },
];
