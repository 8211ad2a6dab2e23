//! Settings: where they come from, how they are printed and changed, and what the init file makes.
//! Each on the real program.

mod common;

#[path = "settings/command_line.rs"]
mod command_line;
#[path = "settings/hangup.rs"]
mod hangup;
#[path = "settings/init_file.rs"]
mod init_file;
#[path = "settings/logs.rs"]
mod logs;
#[path = "settings/program.rs"]
mod program;
