//! What an installation can be told, under the names Helm users know.
//!
//! The types are the defaults, the documentation of `charts/*/values.yaml`, and what
//! `linkerd-config` shows. [`load`] lays files and settings over the defaults, as Helm does.

mod load;
mod set;
mod types;

pub use self::{
    load::{ChartValues, Loaded, ValuesArgs, load, read, unknown_keys},
    set::put,
    types::{Deployments, Identity, Issuer, IssuerTls, PolicyValidator, ProxyInjector, Values},
};

pub use mesh_injector::merge;

#[cfg(test)]
mod tests;
