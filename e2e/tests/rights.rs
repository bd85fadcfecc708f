//! The permissions of the operator's account, compared with their documentation, in either injection mode.

use std::collections::BTreeSet;
use std::fs;

use framebuffer_e2e::program::kubectl;
use framebuffer_e2e::settings::{OPERATOR, SYSTEM, injector, root};

use crate::in_namespace;

/// A right: resource, verb, the name of the one object or nothing.
type Right = (String, String, String);

fn rights(account: &str) -> BTreeSet<Right> {
    let account = format!("system:serviceaccount:{SYSTEM}:{account}");
    let list = kubectl(&["auth", "can-i", "--list", "--no-headers", "--as", &account, "--namespace", SYSTEM]);
    let mut rights = BTreeSet::new();
    for line in list.lines().filter(|line| !line.starts_with(' ')) {
        let resource = line.split_whitespace().next().unwrap().to_owned();
        let lists: Vec<&str> = line.split('[').skip(1).map(|list| list.split(']').next().unwrap()).collect();
        let [_, names, verbs] = lists[..] else { panic!("{line}") };
        for verb in verbs.split_whitespace() {
            rights.insert((resource.clone(), verb.to_owned(), names.to_owned()));
        }
    }
    rights
}

/// The table in docs/security.md: resource, verbs, where, mode, why.
fn documented() -> BTreeSet<Right> {
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let mut rights = BTreeSet::new();
    let table = text.lines().skip_while(|line| !line.starts_with("| resource | verbs |")).skip(2);
    for line in table.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if !["both", injector().as_str()].contains(&cells[4]) {
            continue;
        }
        let name = cells[3].split("the one named `").nth(1).map_or("", |rest| rest.split('`').next().unwrap());
        // `deployments, statefulsets, daemonsets.apps`: the group is the last one's.
        let resources: Vec<&str> = cells[1].split(", ").collect();
        let group = resources.last().unwrap().split_once('.').map_or("", |(_, group)| group);
        for resource in &resources {
            let (kind, group) = resource.split_once('.').unwrap_or((resource, group));
            let (kind, part) =
                kind.split_once('/').map_or((kind, String::new()), |(kind, part)| (kind, format!("/{part}")));
            for verb in cells[2].split(", ") {
                let full = if group.is_empty() { format!("{kind}{part}") } else { format!("{kind}.{group}{part}") };
                rights.insert((full, verb.to_owned(), name.to_owned()));
            }
        }
    }
    rights
}

#[test]
fn the_operator_may_do_what_its_documentation_says_and_nothing_else() {
    in_namespace(async |_| {
        let everybody = rights("default");
        let actual: BTreeSet<Right> = rights(OPERATOR).difference(&everybody).cloned().collect();
        // The documentation names what kubectl shows with its group; groups of the lease and the webhook are long.
        let short = |rights: BTreeSet<Right>| -> BTreeSet<Right> {
            let cut = |resource: String| {
                let cut = resource.replace(".coordination.k8s.io", "").replace(".admissionregistration.k8s.io", "");
                // `framebuffers/status.framebuffer.dev` and `framebuffers.framebuffer.dev/status` are the same.
                cut.replace("framebuffers/status.framebuffer.dev", "framebuffers.framebuffer.dev/status")
            };
            rights.into_iter().map(|(resource, verb, name)| (cut(resource), verb, name)).collect()
        };
        assert_eq!(short(actual), short(documented()));
    });
}
