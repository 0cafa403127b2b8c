//! `fusex bpf-load` without the module: what is said, and nothing is loaded.

use crate::{Place, fusex, is_root};

fn probe() -> serde_json::Value {
    let output = fusex(&["bpf-load", "--probe", "--json"]).assert().code(0).stderr("");
    serde_json::from_slice(&output.get_output().stdout).unwrap()
}

#[test]
fn lines_and_json_say_the_same_tier() {
    let json = probe();
    let text = fusex(&["bpf-load", "--probe"]).assert().code(0).stderr("");
    let text = String::from_utf8(text.get_output().stdout.clone()).unwrap();
    let field = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap().to_string();
    let mut lines = vec![format!("tier:      {}: {}", field(&json, "tier"), field(&json, "what"))];
    for missing in json["missing"].as_array().unwrap() {
        let parts = ["what", "why", "cure"].map(|key| field(missing, key));
        let parts: Vec<&str> =
            parts.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
        lines.push(format!("not there: {}", parts.join(": ")));
    }
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    // Every tier above the one that was found is missing for a reason.
    let missing = json["missing"].as_array().unwrap();
    let named = |tier: &str| missing.iter().any(|it| it["what"] == tier && it["why"] != "");
    let tier = field(&json, "tier");
    assert!(["hook", "trace", "none"].contains(&tier.as_str()), "{tier}");
    assert_eq!([named("tier hook"), named("tier lsm")], [tier != "hook"; 2], "{json}");
}

#[test]
fn what_is_wrong_is_said() {
    let place = Place::new();
    let line = "the following required arguments were not provided: <MOUNTPOINT>: try 'fusex \
                bpf-load --help'";
    place.refused(&["bpf-load"], 1, line);
    let line = "@/point: not a mount point: see findmnt(8)";
    for action in [&["bpf-load", "@/point"][..], &["bpf-load", "--dump", "@/point"]] {
        place.refused(action, 1, line);
    }
    place.refused(
        &["bpf-load", "--list", "--ttl", "5"],
        1,
        "--ttl: nothing is loaded: leave it out",
    );
    fusex(&["bpf-load", "--list", "--pin", "/nonexistent"])
        .assert()
        .code(0)
        .stdout("nothing is loaded\n")
        .stderr("");
}

#[test]
fn a_mount_of_the_kernels_own_fuse_is_refused() {
    if let Some(reason) = crate::common::why_no_mounts() {
        crate::skip!(reason);
    }
    let place = Place::new();
    fusex(&place.fill(&["mount", "@/source", "@/point"])).assert().code(0);
    let load = fusex(&place.fill(&["bpf-load", "@/point"])).assert();
    let detach = fusex(&place.fill(&["bpf-load", "--detach", "@/point"])).assert();
    fusex(&place.fill(&["umount", "@/point"])).assert().code(0);
    let point = place.path("point").display().to_string();
    load.code(2).stdout("").stderr(format!(
        "fusex: {point}: type fuse.fusex: only 'fusebpf' can be answered in the kernel: mount it \
         with '-o kernel=fusebpf'\n"
    ));
    detach.code(2).stdout("").stderr(format!(
        "fusex: {point}: nothing is loaded, by the pins in /sys/fs/bpf/fusex: see 'fusex bpf-load \
         --list'\n"
    ));
}

#[test]
fn no_module_no_mount() {
    if !is_root("no_module_no_mount") {
        return;
    }
    if std::path::Path::new("/dev/fusebpf").exists() {
        crate::skip!("the module fusebpf is loaded");
    }
    let place = Place::new();
    let line = "/dev/fusebpf: No such file or directory: load the module with 'modprobe fusebpf'; \
                it is built from kernel/ of fusex";
    place.refused(&["mount", "-o", "kernel=fusebpf", "@/source", "@/point"], 32, line);
    let line = "option 'kernel': bad value 'fuze': give fuse or fusebpf";
    place.refused(&["mount", "-o", "kernel=fuze", "@/source", "@/point"], 1, line);
}
