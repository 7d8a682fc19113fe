//! What the proxy was made of.

use super::labels::{Labels, header, sample};

/// `proxy_build_info`: from what, and how.
pub(super) fn build_info(out: &mut String) {
    let profile = match cfg!(debug_assertions) {
        true => "debug",
        false => "release",
    };
    let labels = Labels::default()
        .with("date", option_env!("MESH_BUILD_DATE").unwrap_or_default())
        .with("git_sha", option_env!("MESH_GIT_SHA").unwrap_or_default())
        .with("profile", profile)
        .with("vendor", "mesh")
        .with("version", env!("CARGO_PKG_VERSION"));
    let name = "proxy_build_info";
    header(out, name, "gauge", "Proxy build info");
    sample(out, name, "", &labels, 1);
}

/// `rustls_info`: what its TLS is made of.
pub(super) fn rustls_info(out: &mut String) {
    let about = mesh_tls::describe();
    let labels = Labels::default()
        .with("tls_suites", &about.suites)
        .with("tls_kx_groups", &about.kx_groups)
        .with("tls_rand", &about.rand)
        .with("tls_key_provider", &about.key_provider)
        .with("tls_fips", &about.fips.to_string());
    let name = "rustls_info";
    header(out, name, "gauge", "Proxy TLS info");
    sample(out, name, "", &labels, 1);
}
