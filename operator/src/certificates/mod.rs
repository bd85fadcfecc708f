//! The webhook's certificates.
//!
//! The leader makes a CA and a serving certificate, keeps both in a Secret, and puts the CA into the webhook's
//! configuration, where the API server takes it from; every replica serves with what the Secret holds. With cert-manager,
//! every replica serves with the files that it is given, and nobody writes anything.
//!
//! # Guarantees
//!
//! No admission request fails because certificates change: at every moment the API server trusts the CA of every
//! certificate that a replica may still serve with. A new CA is trusted first and used later ([`plan::Policy::publish`]),
//! an old one is used no longer first and distrusted later ([`plan::Policy::overlap`]).
//!
//! Read [`plan`] (what to do when: pure), [`material`] (what the Secret holds), [`issue`] (how it is made), [`configuration`]
//! (what the webhook's configuration says), [`keeper`] and [`repair`] (the leader's part), [`serving`] and [`trust`] (every
//! replica's part).

pub mod configuration;
pub mod issue;
pub mod keeper;
pub mod material;
pub mod plan;
mod repair;
pub mod serving;
pub mod trust;

#[cfg(test)]
mod tests;
