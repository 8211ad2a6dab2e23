//! What the process gives up at its start: whatever it does not need cannot be taken from it.

use rustix::fs::Mode;
use rustix::io::Result;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

/// First port that everybody may listen on.
const PORT_FREE_MIN: u16 = 1024;

/// What became of the capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// There were none.
    Nothing,
    /// There were some, and none is left but what listening at a low port takes.
    Capabilities,
}

/// From now on files are made for their owner alone.
pub fn keep_files_private() {
    // What it was before is of no use.
    let _before = umask(Mode::RWXG | Mode::RWXO);
}

/// Nothing that the process starts may ever have more rights than it has.
///
/// * Errors: the operating system's; kernels before 3.5 know nothing of it.
pub fn renounce_new_privileges() -> Result<()> {
    set_no_new_privs(true)
}

/// Keeps the process's memory, keys and records included, from core files, and from debuggers of
/// the same user.
pub fn refuse_core_dumps() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Gives up the capabilities of this thread, and with them those of every thread that it starts:
/// to be called before there are others. The power to listen at a port below 1024 is kept while
/// one of `ports` needs it.
///
/// Who may lock any amount of memory, may not afterwards: so the limit is raised first.
///
/// * Errors: the operating system's; then nothing was given up.
pub fn drop_capabilities(ports: &[u16]) -> Result<Dropped> {
    let had = capabilities(None)?;
    let all = had.effective | had.permitted | had.inheritable;
    if all.is_empty() {
        return Ok(Dropped::Nothing);
    }
    if had.effective.contains(CapabilitySet::IPC_LOCK) {
        raise_locked_memory();
    }
    let kept = kept(had.permitted, ports);
    clear_ambient_capability_set()?;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    Ok(if all == kept { Dropped::Nothing } else { Dropped::Capabilities })
}

/// What is needed, of what is there.
fn kept(had: CapabilitySet, ports: &[u16]) -> CapabilitySet {
    let is_low = |port: &u16| (1..PORT_FREE_MIN).contains(port);
    if ports.iter().any(is_low) {
        had & CapabilitySet::NET_BIND_SERVICE
    } else {
        CapabilitySet::empty()
    }
}

/// The rings register memory; who may not raise the limit keeps it.
fn raise_locked_memory() {
    let unlimited = Rlimit { current: None, maximum: None };
    if setrlimit(Resource::Memlock, unlimited).is_err() {
        let limit = getrlimit(Resource::Memlock).current;
        tracing::debug!(?limit, "the limit of locked memory stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_low_port_keeps_a_capability() {
        let everything = CapabilitySet::all();
        let cases: [(&[u16], bool); 6] = [
            (&[], false),
            (&[0], false),
            (&[4440], false),
            (&[1024], false),
            (&[443], true),
            (&[4440, 1023], true),
        ];
        for (ports, keeps) in cases {
            let expected =
                if keeps { CapabilitySet::NET_BIND_SERVICE } else { CapabilitySet::empty() };
            assert_eq!(kept(everything, ports), expected, "{ports:?}");
            assert_eq!(kept(CapabilitySet::empty(), ports), CapabilitySet::empty());
        }
    }

    #[test]
    fn a_thread_gives_everything_up() {
        let given_up = std::thread::spawn(|| {
            let had = capabilities(None).unwrap();
            let dropped = drop_capabilities(&[4440]).unwrap();
            (had, dropped, capabilities(None).unwrap())
        });
        let (had, dropped, left) = given_up.join().unwrap();
        let none = CapabilitySet::empty();
        assert_eq!((left.effective, left.permitted, left.inheritable), (none, none, none));
        let had_none = (had.effective | had.permitted | had.inheritable).is_empty();
        let expected = if had_none { Dropped::Nothing } else { Dropped::Capabilities };
        assert_eq!(dropped, expected);
    }
}
