//! Which mount holds a path, as `/proc/self/mountinfo` has it.

use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// Where it is.
    pub point: PathBuf,
    /// Name of the file system, like `ext4`.
    pub kind: String,
    /// What is mounted, like `/dev/vda`.
    pub source: String,
    /// Its options, those of the mount and those of the file system.
    pub options: Vec<String>,
}

impl Mount {
    /// Whether an option is set.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|set| set == option)
    }

    /// The value of an option, like that of `upperdir=…`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|set| set.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The mount that holds `path`, which must be absolute and without symbolic links.
#[must_use]
pub fn holding(mountinfo: &str, path: &Path) -> Option<Mount> {
    let mounts = mountinfo.lines().filter_map(parse);
    let holders = mounts.filter(|mount| path.starts_with(&mount.point));
    // Of mounts at the same place, the last one covers the others.
    holders.max_by_key(|mount| mount.point.components().count())
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/vda rw,data=ordered`
fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(4);
    let (point, own) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, source, options) = (after.next()?, after.next()?, after.next().unwrap_or_default());
    let options = own.split(',').chain(options.split(',')).map(str::to_owned).collect();
    let point = PathBuf::from(unescape(point));
    Some(Mount { point, kind: kind.to_owned(), source: unescape(source), options })
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
25 22 0:22 / /dev/shm rw - tmpfs tmpfs rw,size=1k
26 22 8:1 / /data rw shared:2 master:1 - xfs /dev/sda1 ro,nobarrier
27 22 8:2 /sub /data/my\\040dir rw - ext4 /dev/sdb rw,data=journal
28 26 0:30 / /data rw - overlay overlay rw,lowerdir=/l,upperdir=/u
not a mount
";

    #[test]
    fn the_deepest_and_last_mount_holds_a_path() {
        for (path, kind, source) in [
            ("/", "ext4", "/dev/vda"),
            ("/dev/shm/x", "tmpfs", "tmpfs"),
            ("/dev/shmx", "ext4", "/dev/vda"),
            ("/data/x", "overlay", "overlay"),
            ("/data/my dir/deep", "ext4", "/dev/sdb"),
        ] {
            let mount = holding(TABLE, Path::new(path)).unwrap();
            assert_eq!((mount.kind.as_str(), mount.source.as_str()), (kind, source), "{path}");
        }
        assert_eq!(holding("", Path::new("/")), None);
    }

    #[test]
    fn options_of_mount_and_file_system_are_both_seen() {
        let mount = holding(TABLE, Path::new("/data/my dir")).unwrap();
        assert!(mount.has("rw") && mount.has("data=journal") && !mount.has("data"));
        assert_eq!(mount.value("data"), Some("journal"));
        let overlay = holding(TABLE, Path::new("/data")).unwrap();
        assert_eq!((overlay.value("upperdir"), overlay.value("upper")), (Some("/u"), None));
    }
}
