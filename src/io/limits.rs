//! How many files and connections the process may have open, and how much memory it may lock.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to what the process may ask for, and returns it; `None` is no
/// limit. Each segment and each connection takes descriptors, and the usual limit of 1024 is meant
/// for programs that use `select`.
///
/// * Errors: none; where it cannot be raised it stays as it is.
pub fn raise_open_files() -> Option<u64> {
    raise(Resource::Nofile)
}

/// Raises the limit of locked memory to what the process may ask for, and returns it in bytes;
/// `None` is no limit. The rings register memory, and an executor looks at the lower of the limits.
///
/// * Errors: none; where it cannot be raised it stays as it is.
pub fn raise_locked_memory() -> Option<u64> {
    raise(Resource::Memlock)
}

fn raise(resource: Resource) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(resource);
    let raised = Rlimit { current: maximum, maximum };
    if setrlimit(resource, raised).is_ok() { maximum } else { current }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_what_may_be_asked_for() {
        for (resource, raise) in [
            (Resource::Nofile, raise_open_files as fn() -> Option<u64>),
            (Resource::Memlock, raise_locked_memory),
        ] {
            let Rlimit { maximum, .. } = getrlimit(resource);
            assert_eq!(raise(), maximum);
            assert_eq!(getrlimit(resource).current, maximum);
        }
    }
}
