//! What the running kernel can and cannot do in a recovery.

use std::fs;
use std::os::unix::fs::FileExt;

use fusex::recovery::kernel_bugs::{Version, known_bugs};

use crate::common::{Mount, sum};
use crate::kept::{kill_worker, new_file};
use crate::line::{fusex, number, status, text};
use crate::load::under_load;
use crate::need_mounts;
use fusex::crash::workload::Random;

#[test]
fn doctor_names_the_bugs_of_this_kernel() {
    let Some(version) = Version::running() else { crate::skip!("/proc/sys/kernel/osrelease") };
    let output = fusex(&["doctor"]);
    let said = text(&output.stdout);
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("kernel bugs: ")).collect();
    let known = known_bugs(version);
    if known.is_empty() {
        assert_eq!(lines, [format!("ok    kernel bugs: none known in Linux {version}")]);
    }
    for bug in &known {
        let start = format!("warn  kernel bugs: {} in Linux {version}: {}", bug.id, bug.what);
        let line = lines.iter().find(|line| line.starts_with(&start));
        assert!(line.is_some_and(|line| line.contains("--no-resend")), "{start}: {said}");
    }
    assert_eq!(lines.len(), known.len().max(1), "{said}");
}

#[test]
fn without_the_kernels_help_nobody_sees_an_error() {
    need_mounts!();
    let mount = Mount::new(&["--no-resend", "-o", "nopassthrough,cache=never"]);
    let data = Random::new(4).bytes(4 << 20);
    let file = new_file(&mount.point().join("file"));
    under_load(&mount.point(), || {
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for (number, part) in data.chunks(10_000).enumerate() {
                    file.write_all_at(part, number as u64 * 10_000).unwrap();
                }
            });
            kill_worker(&mount);
            writer.join().unwrap();
        });
    });
    assert_eq!(sum(&fs::read(mount.point().join("file")).unwrap()), sum(&data));
    let status = status(&mount.point());
    assert_eq!((number(&status, "worker_deaths"), number(&status, "recovered_resent")), (1, 0));
}
