//! The operator: a user declares a `FrameBuffer`, a labelled pod gets its ring.
//!
//! - [`api`]: the custom resource. [`validate`]: the one place that judges it.
//! - [`render`]: the one place that decides what is injected. [`inject`]: brings it into a pod, as a JSON patch.
//! - [`carrier`]: who brings it into pods in a cluster. [`policy`]: the API server by itself, from what the controller has rendered;
//!   the operator only binds names. [`webhook`]: the operator, when the API server asks. [`commands`]: does so for a file.
//! - [`controller`]: counts pods, reports, restarts.
//! - [`certificates`], [`leader`], [`admin`], [`metrics`]: what these need to live.
//! - [`run`]: puts it together.
#![allow(rustdoc::private_intra_doc_links, reason = "the documentation of a program is for who reads its code")]

pub mod admin;
pub mod api;
pub mod carrier;
pub mod certificates;
pub mod cli;
pub mod commands;
pub mod controller;
pub mod inject;
pub mod leader;
pub mod memory;
pub mod metrics;
pub mod policy;
pub mod quantity;
pub mod render;
pub mod run;
pub mod validate;
pub mod webhook;

/// Name under which the operator writes to the API server.
pub const MANAGER: &str = "framebuffer-operator";

/// What people need to know of an error of the API server: kube's own words hold the whole answer, twice.
pub(crate) fn brief(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{} ({})", status.message, status.code),
        error => error.into(),
    }
}

#[cfg(test)]
mod testing;
