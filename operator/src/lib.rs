//! The operator: a user declares a `FrameBuffer`, and pods with its label get its ring.
//!
//! - [`api`]: the custom resource. [`validate`]: the one place that checks it.
//! - [`render`]: the one place that decides the content of an injection. [`inject`]: adds it to a pod, as a JSON patch.
//! - [`injector`]: which component injects pods in a cluster. [`policy`]: the API server itself, from
//!   `status.injection`; the operator only binds names. [`webhook`]: the operator, at the API server's request.
//!   [`commands`]: injects manifests in a file.
//! - [`controller`]: counts pods, writes statuses, restarts workloads.
//! - [`client`]: calls to the API server within deadlines. [`serve`]: listeners within bounds. [`certificates`],
//!   [`leader`], [`events`], [`admin`], [`metrics`]: support for these.
//! - [`run`]: puts everything together.
#![allow(rustdoc::private_intra_doc_links, reason = "the documentation of a program is for readers of its code")]

pub mod admin;
pub mod api;
pub mod certificates;
pub mod cli;
pub mod client;
pub mod commands;
pub mod controller;
mod events;
pub mod inject;
pub mod injector;
pub mod leader;
pub mod memory;
pub mod metrics;
pub mod policy;
pub mod quantity;
pub mod render;
pub mod run;
pub mod serve;
pub mod validate;
pub mod webhook;

/// Field manager of the operator's writes to the API server.
pub const MANAGER: &str = "framebuffer-operator";

/// Shortens an error of the API server to its message and code: kube's own text has the whole response, twice.
pub(crate) fn brief(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{} ({})", status.message, status.code),
        error => error.into(),
    }
}

#[cfg(test)]
mod testing;
