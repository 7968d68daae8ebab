//! What a lab's programs take of the CPUs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::Lab;
use crate::{Host, netns::Netns, remains};

impl Lab {
    /// CPU time that all processes in it have had so far, with what the kernel has done in their names: on veth, most of what happens
    /// to their packets. Those that have ended count no more.
    pub fn cpu_time(&self) -> Duration {
        let hosts = [&self.client, &self.lb].into_iter().chain(&self.router);
        let hosts = hosts.chain(&self.more_clients).chain(&self.backends);
        let spaces = hosts.map(|Host { ns, .. }| ns).chain([&self.switch]);
        let spaces: Vec<_> = spaces
            .map(Netns::path)
            .filter_map(|path| remains::identity(&path))
            .collect();
        let processes = remains::processes_in(&spaces);
        processes.into_iter().map(of_process).sum()
    }
}

/// Of all its threads; nothing of one that has just ended.
fn of_process(pid: i32) -> Duration {
    let threads = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    let threads = threads.into_iter().flatten().flatten();
    threads.map(|thread| of_thread(&thread.path())).sum()
}

/// The first of the numbers in schedstat (Documentation/scheduler/sched-stats.rst).
fn of_thread(task: &Path) -> Duration {
    let statistics = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    let nanoseconds = statistics.split_whitespace().next();
    Duration::from_nanos(nanoseconds.and_then(|number| number.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_takes_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = of_process(own);
        let mut sum = 0_u64;
        while of_process(own) < before + Duration::from_millis(1) {
            sum = std::hint::black_box(sum + 1);
        }
        assert_eq!(of_process(i32::MAX), Duration::ZERO);
    }
}
