//! Seccomp filters that refuse one system call, as container engines and old kernels do.
#![cfg(target_arch = "x86_64")]

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use seccompiler::{TargetArch, apply_filter, compile_from_json};
use serde_json::{Value, json};

/// `O_DIRECT`.
const DIRECT: i32 = 0o40_000;

/// Refuses to set up rings, as the default profiles of container engines do.
pub(crate) fn without_rings(errno: i32) -> (Value, i32) {
    (json!([{ "syscall": "io_uring_setup" }]), errno)
}

/// Refuses direct I/O, as tmpfs did before Linux 6.6.
pub(crate) fn without_direct_io() -> (Value, i32) {
    let flag = json!({ "index": 2, "type": "dword", "op": { "masked_eq": DIRECT }, "val": DIRECT });
    (json!([{ "syscall": "openat", "args": [flag] }]), 22)
}

/// Refuses to register anything with a ring: an executor fails on its own thread then.
pub(crate) fn without_registering() -> (Value, i32) {
    (json!([{ "syscall": "io_uring_register" }]), 1)
}

/// Has the command start with these calls refused.
pub(crate) fn refuse(command: &mut Command, (calls, errno): (Value, i32)) {
    let text = json!({
        "refused": {
            "mismatch_action": "allow", "match_action": { "errno": errno }, "filter": calls,
        },
    });
    let arch: TargetArch = std::env::consts::ARCH.try_into().expect("a known architecture");
    let mut compiled = compile_from_json(text.to_string().as_bytes(), arch).expect("sound");
    let program = compiled.remove("refused").expect("it was compiled");
    let apply = move || apply_filter(&program).map_err(|_| std::io::Error::last_os_error());
    // SAFETY: between fork and exec it makes system calls alone and allocates nothing: the program
    // was compiled before.
    unsafe { command.pre_exec(apply) };
}
