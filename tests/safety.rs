//! What the server is careful about by itself: whom it lets in and tells what, what it gives up,
//! who can read its files, and what it never writes anywhere. Each on a real server process.

mod common;

#[path = "safety/alone.rs"]
mod alone;
#[path = "safety/audit.rs"]
mod audit;
#[path = "safety/audit_data.rs"]
mod audit_data;
#[path = "safety/exposure.rs"]
mod exposure;
#[path = "safety/metrics.rs"]
mod metrics;
#[path = "safety/privileges.rs"]
mod privileges;
#[path = "safety/silence.rs"]
mod silence;
#[path = "safety/system_calls.rs"]
mod system_calls;
