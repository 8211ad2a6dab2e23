//! How much of the processor a server on this machine used in the measured time.

use std::fs;
use std::thread::{JoinHandle, sleep};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::context::Window;

/// Seconds of processor time, all threads of a process together, those that ended included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ServerCpu {
    /// In the program.
    user_s: f64,
    /// In the kernel on its behalf.
    system_s: f64,
}

impl ServerCpu {
    /// What process `pid` used since it began.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let [user, system] = ticks(&text).with_context(|| format!("{path}: {text}"))?;
        let per_second = rustix::param::clock_ticks_per_second();
        #[expect(clippy::cast_precision_loss, reason = "exact for centuries of processor time")]
        let seconds = |ticks: u64| ticks as f64 / per_second as f64;
        Ok(Self { user_s: seconds(user), system_s: seconds(system) })
    }

    fn since(self, earlier: Self) -> Self {
        let (user_s, system_s) = (self.user_s - earlier.user_s, self.system_s - earlier.system_s);
        Self { user_s, system_s }
    }

    /// Microseconds for each of so many appends; `None` without any.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn us_per_append(self, appends: u64) -> Option<f64> {
        (appends > 0).then(|| (self.user_s + self.system_s) * 1e6 / appends as f64)
    }

    /// Prints it to standard output, and what each of `appends` took of it.
    pub(crate) fn print(self, appends: u64) {
        let Self { user_s, system_s } = self;
        let each = self.us_per_append(appends);
        let each = each.map_or_else(|| "-".to_owned(), |us| format!("{us:.1}"));
        println!("server cpu  {user_s:.2} s user, {system_s:.2} s system, {each} us per append");
    }

    /// The same for machines.
    pub(crate) fn json(self, appends: u64) -> Value {
        json!({
            "user_s": self.user_s,
            "system_s": self.system_s,
            "us_per_append": self.us_per_append(appends),
        })
    }
}

/// `utime` and `stime`, fields 14 and 15 of `/proc/PID/stat`. The second field is the program's
/// name in parentheses, which may hold blanks and parentheses itself.
fn ticks(stat: &str) -> Option<[u64; 2]> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some([fields.next()?.parse().ok()?, fields.next()?.parse().ok()?])
}

/// A look at process `pid` at both ends of the measured time.
pub(crate) struct Watch(JoinHandle<Result<ServerCpu>>);

impl Watch {
    /// Begins to wait for the measured time.
    pub(crate) fn begin(pid: u32, clock: Clock, window: Window) -> Result<Self> {
        ServerCpu::of(pid).context("--server-pid")?;
        let wait_until = move |at_ns: u64| {
            let at = clock.instant(at_ns);
            sleep(at.saturating_duration_since(std::time::Instant::now()));
        };
        let thread = std::thread::Builder::new().name("server-cpu".to_owned());
        let handle = thread.spawn(move || {
            wait_until(window.measure_ns);
            let before = ServerCpu::of(pid)?;
            wait_until(window.end_ns);
            Ok(ServerCpu::of(pid)?.since(before))
        })?;
        Ok(Self(handle))
    }

    /// What was used; waits for the end of the measured time.
    pub(crate) fn end(self) -> Result<ServerCpu> {
        self.0.join().map_err(|_| anyhow!("the thread that watches the server panicked"))?
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ns;

    #[test]
    fn the_name_of_a_program_may_be_anything() {
        let rest = "S 1 2 3 4 -1 5 6 7 8 9 123 45 0 0 20 0 1 0 99";
        for name in ["thalweg", "a b", "a) S 1 (b", ""] {
            assert_eq!(ticks(&format!("77 ({name}) {rest}")), Some([123, 45]), "{name:?}");
        }
        for bad in ["", "77 (x)", "77 (x) S 1 2 3 4 -1 5 6 7 8 9 x 45"] {
            assert_eq!(ticks(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_process_that_works_is_seen_to() {
        let clock = Clock::start();
        let (start_ns, end_ns) = (clock.now_ns(), clock.now_ns() + ns(Duration::from_millis(200)));
        let window = Window { start_ns, measure_ns: start_ns, end_ns, drain_ns: end_ns };
        let watch = Watch::begin(std::process::id(), clock, window).unwrap();
        let mut turns = 0_u64;
        // Until enough ticks have passed, which on a busy machine may take longer.
        let begun = ServerCpu::of(std::process::id()).unwrap();
        let give_up = std::time::Instant::now() + Duration::from_secs(60);
        while ServerCpu::of(std::process::id()).unwrap() == begun {
            turns += 1;
            assert!(std::time::Instant::now() < give_up, "no time passes: {turns} turns");
        }
        let used = watch.end().unwrap();
        assert!(used.user_s >= 0.0 && used.system_s >= 0.0, "{used:?}");
        let value = ServerCpu { user_s: 0.5, system_s: 1.5 };
        assert_eq!(value.json(1_000_000)["us_per_append"], 2.0);
        assert_eq!(value.json(0)["us_per_append"], Value::Null);
        assert!(Watch::begin(u32::MAX, clock, window).is_err(), "there is no such process");
    }
}
