//! The sample tenants.

/// An agency and its departments.
#[derive(Debug, Clone, Copy)]
pub struct SampleTenant {
    /// Name of the tenant and of its context.
    pub name: &'static str,
    /// Departments of the tenant.
    pub departments: &'static [&'static str],
}

/// The tenants of `posthouse dev`.
pub const SAMPLE_TENANTS: &[SampleTenant] = &[
    SampleTenant { name: "civil-affairs", departments: &["household-registry", "identity-cards"] },
    SampleTenant { name: "public-security", departments: &["driving-licences"] },
    SampleTenant { name: "taxation", departments: &["returns"] },
];
