//! The log's contract, kept on the simulated device and on the real one.
//!
//! `contract` says what an undisturbed log does, `recovery` what is mended and what refused,
//! `faults` what happens when the device fails, `crash` what any power cut leaves intact, `reads`
//! what reading old data costs the disk, `scrub` what reading sealed segments again finds.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "log/contract.rs"]
mod contract;
#[path = "log/crash.rs"]
mod crash;
#[path = "log/device.rs"]
mod device;
#[path = "log/faults.rs"]
mod faults;
#[path = "log/kit.rs"]
mod kit;
#[path = "log/reads.rs"]
mod reads;
#[path = "log/recovery.rs"]
mod recovery;
#[path = "log/scrub.rs"]
mod scrub;
