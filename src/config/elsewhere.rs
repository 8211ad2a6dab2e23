//! Options of other servers of this API that mean nothing here, and what to do instead.

use clap::Args;

/// Where the S2 Lite server may keep data, and this one may not. They are known only to be refused
/// in words that help.
#[derive(Debug, Clone, Default, Args)]
pub struct Elsewhere {
    #[arg(long, hide = true, value_name = "PREFIX")]
    path: Option<String>,
    #[arg(long, hide = true, env = "S2LITE_WAL_BUCKET", value_name = "NAME")]
    wal_bucket: Option<String>,
    #[arg(long, hide = true, env = "S2LITE_WAL_LOCAL_ROOT", value_name = "DIR")]
    wal_local_root: Option<String>,
}

impl Elsewhere {
    /// Says why such an option cannot be followed.
    ///
    /// * Errors: one is given, and not empty.
    pub fn refuse(&self) -> Result<(), String> {
        let local = "this server keeps everything, its log too, in a directory of a local disk: \
                     give --local-root DIR (or --data-dir DIR), and --bucket URL for a second home";
        let cases = [
            ("--wal-bucket", &self.wal_bucket, local),
            ("--wal-local-root", &self.wal_local_root, local),
            (
                "--path",
                &self.path,
                "a data directory has no paths inside it: give each server its \
                                    own --local-root DIR",
            ),
        ];
        for (flag, value, instead) in cases {
            if value.as_ref().is_some_and(|value| !value.is_empty()) {
                return Err(format!(
                    "{flag} (or its environment variable) is given, but {instead}"
                ));
            }
        }
        Ok(())
    }
}
