//! The webhook's certificates.
//!
//! The leader makes a CA and a serving certificate, stores both in a Secret, and writes the CA into the webhook's
//! configuration, where the API server reads it; every replica serves with the certificate in the Secret. With
//! cert-manager, every replica serves with mounted files, and the operator writes nothing.
//!
//! # Guarantees
//!
//! No admission request fails because certificates change: at every moment the API server trusts the CA of every
//! certificate that a replica may still serve with. A new CA is trusted before it is used
//! ([`plan::Lifetimes::propagation`]), and an old one stays trusted after its last use ([`plan::Lifetimes::overlap`]).
//!
//! Read [`plan`] (the next step; pure), [`material`] (the Secret), [`issue`] (makes certificates), [`configuration`]
//! (the webhook's configuration), [`rotator`] and [`repair`] (run by the leader), [`serving`] and [`trust`] (run by
//! every replica).

pub mod configuration;
pub mod issue;
pub mod material;
pub mod plan;
mod repair;
pub mod rotator;
pub mod serving;
pub mod trust;

#[cfg(test)]
mod tests;
