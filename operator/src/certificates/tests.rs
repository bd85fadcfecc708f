//! Tests of the plan over time, and of what is made for it.

use jiff::{SignedDuration, Timestamp};

use super::issue;
use super::material::{Material, serving};
use super::plan::{BACKDATE, Lifetimes, Plan, plan};
use super::serving::Serving;
use crate::metrics::Metrics;

fn start() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn lifetimes() -> Lifetimes {
    Lifetimes::new(SignedDuration::from_hours(24 * 365), SignedDuration::from_hours(24 * 90))
}

fn names() -> Vec<String> {
    vec!["operator.ns.svc".to_owned(), "operator.ns.svc.cluster.local".to_owned()]
}

fn made() -> Material {
    issue::create("", &names(), &lifetimes(), start()).unwrap()
}

fn planned(material: &Material, trusted: bool, now: Timestamp) -> Plan {
    plan(Some(&material.facts().unwrap()), &names(), trusted, &lifetimes(), now)
}

#[test]
fn nothing_usable_means_to_create() {
    assert_eq!(plan(None, &names(), false, &lifetimes(), start()), Plan::Create);
    let ended = start() + SignedDuration::from_hours(24 * 366);
    assert_eq!(planned(&made(), true, ended), Plan::Create);
}

#[test]
fn a_certificate_is_kept_for_two_thirds_of_the_serving_certificates_life() {
    let until = start() + SignedDuration::from_hours(24 * 60);
    assert_eq!(planned(&made(), true, start()), Plan::Wait { until });
    assert_eq!(planned(&made(), true, until - SignedDuration::from_secs(1)), Plan::Wait { until });
    assert_eq!(planned(&made(), true, until), Plan::Issue);
}

#[test]
fn certificates_are_valid_for_clocks_that_are_slow() {
    let facts = made().facts().unwrap();
    assert_eq!(facts.cas[0].not_before, start() - BACKDATE);
    assert_eq!(facts.serving.not_before, start() - BACKDATE);
    assert_eq!(facts.serving.names, names());
    assert_eq!(facts.serving.issuer, facts.cas[0].subject);
}

#[test]
fn a_new_ca_is_trusted_before_it_is_used_and_an_old_one_after() {
    let due = start() + SignedDuration::from_hours(24 * 365) * 2 / 3;
    // A serving certificate of the old CA, not due itself.
    let before = issue::issue(&made(), &names(), &lifetimes(), due - SignedDuration::from_hours(1)).unwrap();
    assert_eq!(planned(&before, true, due), Plan::AddCa);

    let added = issue::add_ca(&before, &lifetimes(), due).unwrap();
    assert_eq!(added.facts().unwrap().cas.len(), 2);
    assert_eq!(added.certificate, before.certificate);
    let propagated = due + SignedDuration::from_mins(1);
    assert_eq!(planned(&added, true, due), Plan::Wait { until: propagated });
    assert!(matches!(planned(&added, false, propagated), Plan::Wait { .. }), "the API server does not know the CA yet");
    assert_eq!(planned(&added, true, propagated), Plan::Issue);

    let issued = issue::issue(&added, &names(), &lifetimes(), propagated).unwrap();
    let facts = issued.facts().unwrap();
    assert_eq!(facts.serving.issuer, facts.cas[0].subject);
    assert_eq!(facts.cas.len(), 2, "replicas may still serve with the old certificate");
    let overlap = propagated + SignedDuration::from_hours(1);
    assert_eq!(planned(&issued, true, propagated), Plan::Wait { until: overlap });
    assert_eq!(planned(&issued, true, overlap), Plan::Prune);

    let pruned = issue::prune(&issued).unwrap();
    assert_eq!(pruned.facts().unwrap().cas, facts.cas[..1]);
    assert!(matches!(planned(&pruned, true, overlap), Plan::Wait { .. }));
}

#[test]
fn a_certificate_for_other_names_is_replaced_at_once() {
    let other = vec!["other.ns.svc".to_owned()];
    let facts = made().facts().unwrap();
    assert_eq!(plan(Some(&facts), &other, true, &lifetimes(), start()), Plan::Issue);
}

#[test]
fn at_no_moment_of_a_long_life_is_the_serving_certificate_untrusted() {
    let lifetimes = Lifetimes::new(SignedDuration::from_hours(30), SignedDuration::from_hours(3));
    let (mut now, end) = (start(), start() + SignedDuration::from_hours(24 * 30));
    let mut material = issue::create("", &names(), &lifetimes, now).unwrap();
    let mut steps = [0; 3];
    while now < end {
        let facts = material.facts().unwrap();
        let issuer = facts.cas.iter().find(|ca| ca.subject == facts.serving.issuer).expect("its CA is trusted");
        assert!(now < issuer.not_after && now < facts.serving.not_after, "{now}");
        assert!(facts.cas.len() <= 2, "{now}");
        let (step, next) = match plan(Some(&facts), &names(), true, &lifetimes, now) {
            Plan::Wait { until } => {
                assert!(until > now, "{now}");
                now = until;
                continue;
            }
            Plan::AddCa => (0, issue::add_ca(&material, &lifetimes, now)),
            Plan::Issue => (1, issue::issue(&material, &names(), &lifetimes, now)),
            Plan::Prune => (2, issue::prune(&material)),
            Plan::Create => panic!("{now}: everything was lost"),
        };
        steps[step] += 1;
        material = next.unwrap();
    }
    assert!(steps[0] >= 30 && steps[1] >= 300 && steps[2] == steps[0], "{steps:?}");
}

#[test]
fn creating_anew_keeps_trusting_our_own_old_cas_and_nobody_elses() {
    let old = made();
    let foreign = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap().cert.pem();
    let later = start() + SignedDuration::from_hours(1);
    let new = issue::create(&(foreign + &old.cas + "garbage"), &names(), &lifetimes(), later).unwrap();
    let cas = new.facts().unwrap().cas;
    assert_eq!(cas.len(), 2);
    assert_eq!(cas[1], old.facts().unwrap().cas[0]);
    let long_after = start() + SignedDuration::from_hours(24 * 400);
    let fresh = issue::create(&new.cas, &names(), &lifetimes(), long_after).unwrap();
    assert_eq!(fresh.facts().unwrap().cas.len(), 1, "ended CAs are dropped");
}

#[test]
fn a_secret_holds_it_and_gives_it_back() {
    let material = made();
    assert_eq!(Material::read(Some(&material.data())).unwrap(), material);
    for entry in ["ca.crt", "ca.key", "tls.crt", "tls.key"] {
        let mut data = material.data();
        data.remove(entry);
        assert!(Material::read(Some(&data)).unwrap_err().to_string().contains(entry));
    }
    assert!(Material::read(None).is_err());
    // As cert-manager writes it.
    let mut data = material.data();
    data.remove("ca.key");
    assert_eq!(serving(Some(&data)).unwrap(), (material.certificate, material.key));
}

#[test]
fn keys_are_not_in_debug_output() {
    let material = made();
    let shown = format!("{material:?}");
    assert!(shown.contains("BEGIN CERTIFICATE") && !shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn an_unusable_certificate_leaves_the_current_one_in_place() {
    let (serving, metrics, material) = (Serving::default(), Metrics::default(), made());
    assert!(!serving.is_loaded());
    serving.load(&material.certificate, &material.key, &metrics).unwrap();
    let other = made();
    assert!(serving.load(&other.certificate, &material.key, &metrics).is_err(), "key and certificate do not match");
    assert!(serving.load("", &material.key, &metrics).is_err());
    assert!(serving.load(&material.certificate, "x", &metrics).is_err());
    assert!(serving.is_loaded());
}

#[test]
fn a_certificate_is_trusted_by_the_bundle_of_its_ca_under_its_name_and_while_it_lives() {
    let (serving, now, lifetimes) = (Serving::default(), Timestamp::now(), lifetimes());
    let make = |at| issue::create("", &names(), &lifetimes, at).unwrap();
    let [material, other] = [make(now), make(now)];
    let name = &names()[0];
    assert!(!serving.is_trusted(&material.cas, name), "nothing is served yet");
    serving.load(&material.certificate, &material.key, &Metrics::default()).unwrap();
    assert!(serving.is_trusted(&material.cas, name));
    assert!(serving.is_trusted(&(other.cas.clone() + &material.cas), name), "one CA of several is enough");
    for (bundle, name) in [(&*other.cas, &**name), ("", name), ("garbage", name), (&material.cas, "other.ns.svc")] {
        assert!(!serving.is_trusted(bundle, name), "{name}");
    }
    let ended = make(now - SignedDuration::from_hours(24 * 91));
    serving.load(&ended.certificate, &ended.key, &Metrics::default()).unwrap();
    assert!(!serving.is_trusted(&ended.cas, name), "it has ended");
}
