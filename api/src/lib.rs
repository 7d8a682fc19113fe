//! The custom resources of the mesh, as types; generates crds/.

pub mod policy;
