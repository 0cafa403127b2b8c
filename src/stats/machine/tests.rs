use super::*;

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

const TABLE: &str = "\
22 1 254:1 / / rw shared:1 - ext4 /dev/vda1 rw
23 22 0:20 / /proc rw - proc proc rw
24 22 0:31 / /sys/fs/fuse/connections rw - fusectl fusectl rw
90 22 0:47 / /mnt/b\\040c rw - fuse.sshfs host:/srv\\011x rw,user_id=0
91 22 0:50 / /mnt/a rw - fuse label rw
92 22 0:47 /sub /mnt/bind rw - fuse.sshfs host:/srv\\011x rw,user_id=0
93 22 8:17 / /mnt/disk rw - fuseblk.ntfs /dev/sdb1 rw
94 22 0:52 / /mnt/guest rw - virtiofs tag rw
";

/// A `/proc` and a `/sys` with nothing in them but what a test puts there.
struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new(table: &str) -> Tree {
        let tree = Tree { dir: tempfile::tempdir().unwrap() };
        tree.write("proc/self/mountinfo", table);
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn control(&self, id: u32, values: [u64; 3]) {
        let files = ["waiting", "max_background", "congestion_threshold"];
        for (file, value) in files.iter().zip(values) {
            self.write(&format!("sys/{CONTROL}/{id}/{file}"), &format!("{value}\n"));
        }
    }

    /// A process whose only thread sleeps in `place`.
    fn process(&self, pid: u32, name: &str, cpu: u64, place: &str) {
        let times = format!("{cpu} 0 0 0 20 0 3 0 {pid}00");
        let stat = format!("{pid} ({name}) S 1 1 1 0 -1 0 0 0 0 0 {times}");
        self.write(&format!("proc/{pid}/stat"), &stat);
        self.write(&format!("proc/{pid}/cmdline"), &format!("/bin/{name}\0-o\0x\0"));
        self.write(&format!("proc/{pid}/task/{pid}/wchan"), place);
        self.file(pid, 0, "/dev/null", "pos:\t0\n");
    }

    fn file(&self, pid: u32, fd: u32, target: &str, info: &str) {
        self.write(&format!("proc/{pid}/fdinfo/{fd}"), info);
        let link = self.dir.path().join(format!("proc/{pid}/fd/{fd}"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, link).unwrap();
    }

    fn device(&self, pid: u32, fd: u32, id: u32) {
        self.file(pid, fd, "/dev/fuse", &format!("pos:\t0\nfuse_connection:\t{id}\n"));
    }

    fn remove(&self, path: &str) {
        fs::remove_dir_all(self.dir.path().join(path)).unwrap();
    }

    fn machine(&self) -> Machine {
        Machine::at(&self.dir.path().join("proc"), &self.dir.path().join("sys"))
    }

    /// The process that serves a connection, found by somebody who knows nothing yet.
    fn server(&self, id: u32) -> Option<u32> {
        server(&mut self.machine(), id)
    }
}

fn server(machine: &mut Machine, id: u32) -> Option<u32> {
    let connections = machine.connections().unwrap();
    let connection = connections.into_iter().find(|connection| connection.id == id).unwrap();
    connection.server.map(|server| server.pid)
}

#[test]
fn each_connection_once_by_mount_point() {
    let tree = Tree::new(TABLE);
    tree.control(47, [3, 12, 9]);
    tree.control(61, [1, 2, 3]);
    tree.control(52, [0, 0, 0]);
    tree.process(7, "sshfs", 1, "0");
    tree.device(7, 5, 47);
    let connections = tree.machine().connections().unwrap();
    let ids: Vec<u32> = connections.iter().map(|connection| connection.id).collect();
    assert_eq!(ids, [50, 47, 8 << 20 | 17, 61], "virtiofs is none, the one of sysfs comes last");
    let server = Server { pid: 7, command: "/bin/sshfs -o x".into(), threads: Some(3) };
    let expected = Connection {
        id: 47,
        mount_point: Some("/mnt/b c".into()),
        other_mount_points: vec!["/mnt/bind".into()],
        fs_type: "fuse.sshfs".into(),
        source: "host:/srv\tx".into(),
        server: Some(server),
        waiting: Some(3),
        max_background: Some(12),
        congestion_threshold: Some(9),
        ..Connection::default()
    };
    assert_eq!(connections[1], expected);
    let elsewhere = Connection {
        id: 61,
        waiting: Some(1),
        max_background: Some(2),
        congestion_threshold: Some(3),
        ..Connection::default()
    };
    assert_eq!(connections[3], elsewhere);
}

#[test]
fn what_cannot_be_known_is_said() {
    let what = |machine: &Machine| machine.missing().iter().map(|it| it.what).collect::<Vec<_>>();
    let tree = Tree::new(&TABLE.replace("fusectl", "tmpfs"));
    let mut machine = tree.machine();
    assert!(machine.missing().is_empty(), "before the first look");
    assert_eq!(machine.connections().unwrap()[0].waiting, None);
    assert_eq!(what(&machine).len(), 2, "{:?}", machine.missing());
    assert!(machine.missing()[0].cure.starts_with("mount -t fusectl"));
    tree.process(7, "old", 1, "0");
    tree.file(7, 5, "/dev/fuse", "pos:\t0\n");
    let mut machine = tree.machine();
    machine.connections().unwrap();
    assert!(machine.missing()[1].why.contains("fuse_connection"), "{:?}", machine.missing());

    let tree =
        Tree::new("22 1 254:1 / / rw - ext4 /dev/vda1 rw\n24 22 0:31 / /c rw - fusectl c rw\n");
    let mut machine = tree.machine();
    assert_eq!(machine.connections().unwrap(), []);
    assert_eq!(machine.missing(), []);
    fs::remove_file(tree.dir.path().join("proc/self/mountinfo")).unwrap();
    assert!(machine.connections().is_err());
}

#[test]
fn who_of_several_answers() {
    let tree = Tree::new(TABLE);
    tree.process(1, "systemd", 9000, "ep_poll");
    tree.device(1, 40, 47);
    tree.process(10, "fusex", 5, "poll");
    tree.device(10, 6, 47);
    assert_eq!(tree.server(47), Some(10), "who keeps descriptors for others does not answer");
    tree.process(11, "fusex-standby", 900, "poll");
    tree.device(11, 6, 47);
    tree.process(12, "fusex-worker", 0, "0");
    tree.device(12, 6, 47);
    assert_eq!(tree.server(47), Some(12));
    tree.process(13, "other", 0, "fuse_dev_do_read");
    tree.device(13, 6, 47);
    assert_eq!(tree.server(47), Some(13), "who waits for requests answers them");
    tree.device(13, 7, 50);
    assert_eq!(tree.server(50), Some(13), "one process can serve several");
}

#[test]
fn a_process_is_not_taken_for_another() {
    let tree = Tree::new(TABLE);
    tree.process(20, "cat", 1, "0");
    tree.file(20, 3, "/mnt/a/fuse", "pos:\t0\nmnt_id:\t91\n");
    assert_eq!(tree.server(47), None);
    tree.process(21, "sshfs", 1, "0");
    tree.file(21, 3, "(unreachable)/fuse", "fuse_connection:\t47\n");
    assert_eq!(tree.server(47), Some(21), "another mount namespace has another path");
}

#[test]
fn a_server_that_goes_is_replaced_by_the_next() {
    let tree = Tree::new(TABLE);
    tree.process(30, "first", 1, "0");
    tree.device(30, 3, 47);
    let mut machine = tree.machine();
    assert_eq!(server(&mut machine, 47), Some(30));
    tree.process(31, "second", 100, "0");
    tree.device(31, 3, 47);
    assert_eq!(server(&mut machine, 47), Some(30), "what is known is not looked for");
    // The same number, and another process.
    tree.remove("proc/30");
    tree.process(30, "first", 1, "0");
    tree.device(30, 3, 47);
    let stat = fs::read_to_string(tree.dir.path().join("proc/30/stat")).unwrap();
    tree.write("proc/30/stat", &stat.replace("3000", "3001"));
    assert_eq!(server(&mut machine, 47), Some(31));
    ["proc/30", "proc/31"].iter().for_each(|path| tree.remove(path));
    assert_eq!(server(&mut machine, 47), None);
}

#[test]
fn a_descriptor_far_away_is_found() {
    let tree = Tree::new(TABLE);
    tree.process(40, "many", 1, "0");
    (1..600).for_each(|fd| tree.file(40, fd, "socket:[1]", ""));
    tree.device(40, 600, 47);
    assert_eq!(tree.server(47), Some(40));
}

#[test]
fn this_machine_has_its_table() {
    let mut machine = Machine::new();
    let begun = Instant::now();
    machine.connections().unwrap();
    let first = begun.elapsed();
    machine.connections().unwrap();
    // A hang is what this finds, not slowness.
    assert!(first < Duration::from_secs(20), "{first:?}");
    let own = machine.server(std::process::id()).unwrap();
    assert!(own.threads >= Some(1), "{own:?}");
}
