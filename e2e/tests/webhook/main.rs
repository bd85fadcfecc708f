//! Tests on a real cluster in webhook mode: those of the webhook, and topics of the other program that concern both
//! modes.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod availability;
mod cert_manager;
mod certificates;
mod configuration;
mod guard;
#[path = "../injection.rs"]
mod injection;
#[path = "../late_labels.rs"]
mod late_labels;
mod leader;
#[path = "../other_webhook.rs"]
mod other_webhook;
#[path = "../rights.rs"]
mod rights;
#[path = "../rollout.rs"]
mod rollout;
mod scale;
#[path = "../upgrade.rs"]
mod upgrade;

use framebuffer_e2e::with_webhook::{alone, in_namespace};
