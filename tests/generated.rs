//! Manual pages and completions are made from the command line's definition and checked in:
//! this test fails when they differ, and writes them when `FUSEX_REGENERATE=1` is set.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Every generated file: its path in the package, and what belongs in it.
fn generated() -> BTreeMap<String, String> {
    let mut command = fusex::cli::command();
    command.build();
    let mut files = BTreeMap::new();
    let mut pages = vec![&command];
    while let Some(page) = pages.pop() {
        pages.extend(page.get_subcommands());
        let name = page.get_display_name().unwrap_or(page.get_name()).to_string();
        files.insert(format!("man/{name}.1"), manual_page(page.clone()));
    }
    let shells = [(Shell::Bash, "fusex.bash"), (Shell::Zsh, "_fusex"), (Shell::Fish, "fusex.fish")];
    for (shell, file) in shells {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut fusex::cli::command(), "fusex", &mut text);
        files.insert(format!("completions/{file}"), String::from_utf8(text).unwrap());
    }
    files
}

/// One page. What the long help has after the options becomes sections: a paragraph each, its
/// first line the heading.
fn manual_page(command: Command) -> String {
    let help = command.get_after_long_help().or(command.get_after_help());
    let tail = help.map(ToString::to_string).unwrap_or_default();
    let subcommands = command.has_subcommands();
    let man = Man::new(command.after_help("").after_long_help(""))
        .source(concat!("fusex ", env!("CARGO_PKG_VERSION")))
        .manual("fusex");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    if subcommands {
        man.render_subcommands_section(&mut page).unwrap();
    }
    for section in tail.split("\n\n").filter(|section| !section.is_empty()) {
        let (heading, body) = section.split_once('\n').unwrap();
        let mut roff = Roff::new();
        roff.control("SH", [heading.trim_end_matches(':').to_uppercase().as_str()]);
        roff.control("nf", []);
        for line in body.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
        roff.to_writer(&mut page).unwrap();
    }
    String::from_utf8(page).unwrap()
}

#[test]
fn checked_in_files_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let regenerate = std::env::var_os("FUSEX_REGENERATE").is_some_and(|value| value == "1");
    let mut outdated = Vec::new();
    for (file, text) in generated() {
        let path = root.join(&file);
        if regenerate {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        } else if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            outdated.push(file);
        }
    }
    let cure = "run: FUSEX_REGENERATE=1 cargo test --test generated";
    assert!(outdated.is_empty(), "out of date: {}: {cure}", outdated.join(", "));
}

#[test]
fn nothing_else_is_checked_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let generated = generated();
    for directory in ["man", "completions"] {
        for entry in std::fs::read_dir(root.join(directory)).unwrap() {
            let file = format!("{directory}/{}", entry.unwrap().file_name().to_string_lossy());
            assert!(generated.contains_key(&file), "{file} belongs to no subcommand: remove it");
        }
    }
}

#[test]
fn every_page_has_its_sections() {
    let pages = generated();
    let page = |name: &str| &pages[&format!("man/{name}.1")];
    for name in ["fusex", "fusex-mount", "fusex-umount"] {
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", ".SH \"EXIT STATUS\""] {
            assert!(page(name).contains(section), "{name}: {section}");
        }
    }
    assert!(page("fusex-mount").contains(".SH \"MOUNT OPTIONS\""));
    assert!(page("fusex-mount").contains("allow_other"));
}
