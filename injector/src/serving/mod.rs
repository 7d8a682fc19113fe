//! The webhooks' serving certificate: made here, kept in a Secret all replicas share, rotated.
//!
//! [`material`] makes and judges certificates (pure); [`keeper`] keeps the Secret, the certificate
//! in use and the webhook configurations' CA bundles in step, in an order in which the API server
//! trusts whatever any replica serves.

mod keeper;
mod material;

#[cfg(test)]
mod tests;

pub(crate) use self::keeper::Keeper;
