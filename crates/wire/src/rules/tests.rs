use super::*;

/// Version 1, as it was first written.
const SAMPLE: &str = r#"{"version":1,"generation":7,"service":"tomcat","original":"tomcat-kt-stuntman","ports":[{"listen":8080,"service":80,"protocol":"tcp","speaks":"http"},{"listen":53,"service":53,"protocol":"udp"}],"routes":[{"name":"tomcat-kt-mesh-abcde","user":"ann","rules":[{"header":"version","equals":"abcde"}],"since":1790000000},{"name":"tomcat-kt-mesh-bob","user":"bob","rules":[{"path":"/api"},{"cookie":"who","equals":"bob"},{"header":"a","starts":"b"},{"header":"a","regex":"b+"},{"baggage":"k","equals":"v"},{"tracestate":"k","equals":"v"}],"since":1790000001}]}"#;

/// A request of headers.
struct Asked<'a>(&'a str, &'a [(&'a str, &'a str)]);

impl Request for Asked<'_> {
    fn path(&self) -> &str {
        self.0
    }

    fn any_header(&self, name: impl Fn(&str) -> bool, wanted: impl Fn(&str) -> bool) -> bool {
        self.1.iter().any(|(present, value)| name(present) && wanted(value))
    }
}

fn rule(text: &str) -> MatchRule {
    MatchRule::parse(text).expect(text)
}

fn matches(text: &str, path: &str, headers: &[(&str, &str)]) -> bool {
    rule(text).matches(&Asked(path, headers))
}

#[test]
fn version_1_is_read_and_written_as_it_was() {
    let set = RuleSet::from_json(SAMPLE.as_bytes()).expect("sample");

    assert_eq!(set.to_json(), SAMPLE);
    assert_eq!(set.ports[0].speaks, Speaks::Http);
    assert_eq!(set.ports[1].protocol, Protocol::Udp);
    assert_eq!(set.routes[0].rules, [MatchRule::mark("version", "abcde")]);
}

#[test]
fn another_version_is_refused_and_an_unknown_field_is_not() {
    let later = SAMPLE.replace("\"version\":1", "\"version\":2");
    let more = SAMPLE.replace("\"speaks\":\"http\"", "\"speaks\":\"quic\",\"new\":1");

    assert!(matches!(RuleSet::from_json(later.as_bytes()), Err(Unusable::Version(2))));
    let set = RuleSet::from_json(more.as_bytes()).expect("more");
    assert_eq!(set.ports[0].speaks, Speaks::Unknown);
    assert!(RuleSet::from_json(b"{}").is_err());
}

#[test]
fn a_rule_without_a_value_makes_a_set_unusable() {
    let cut = SAMPLE.replace(",\"equals\":\"abcde\"", "");

    let error = RuleSet::from_json(cut.as_bytes()).expect_err("unusable").to_string();

    assert!(error.contains("is no rule"), "{error}");
}

#[test]
fn a_header_is_found_whatever_the_spelling_of_its_name() {
    assert!(matches("header:kt_version=a", "/", &[("kt-version", "a")]));
    assert!(matches("header:KT-Version=a", "/", &[("other", "x"), ("kt_version", "a")]));
    assert!(!matches("header:version=a", "/", &[("version", "ab")]));
    assert!(!matches("header:version=a", "/", &[("versions", "a")]));
    assert!(!matches("header:version=a", "/", &[]));
}

#[test]
fn a_header_begins_with_a_text_or_fits_a_pattern_as_a_whole() {
    assert!(matches("header:v^=ab", "/", &[("v", "abc")]));
    assert!(!matches("header:v^=ab", "/", &[("v", "cab")]));
    assert!(matches("header:v~=a|b+", "/", &[("v", "bbb")]));
    assert!(!matches("header:v~=a|b+", "/", &[("v", "bbbc")]));
}

#[test]
fn a_cookie_or_entry_is_found_among_others() {
    assert!(matches("cookie:kt=a", "/", &[("cookie", "x=1; kt=a; y=2")]));
    assert!(!matches("cookie:kt=a", "/", &[("cookie", "xkt=a; kt=ab")]));
    assert!(matches("baggage:kt=a", "/", &[("baggage", "x=1 , kt = a;meta=1")]));
    assert!(matches("tracestate:t@kt=a", "/", &[("tracestate", "rojo=1"), ("tracestate", "t@kt=a")]));
}

#[test]
fn a_path_is_matched_by_whole_parts() {
    for (path, expected) in [("/api", true), ("/api/a", true), ("/apis", false), ("/", false)] {
        assert_eq!(matches("path:/api", path, &[]), expected, "{path}");
        assert_eq!(matches("path:/api/", path, &[]), expected, "{path}");
        assert!(matches("path:/", path, &[]), "{path}");
    }
}

#[test]
fn the_older_route_wins_all_its_rules_must_hold_and_one_without_rules_gets_nothing() {
    let route = |name: &str, rules: &[&str]| Route {
        name: name.into(),
        user: String::new(),
        rules: rules.iter().map(|text| rule(text)).collect(),
        since: 0,
        shadow: None,
    };
    let mut set = RuleSet::from_json(SAMPLE.as_bytes()).expect("sample");
    set.routes =
        vec![route("none", &[]), route("both", &["header:v=a", "path:/api"]), route("one", &["header:v=a"])];
    let name = |path, headers| set.route(&Asked(path, headers)).map(|route| route.name.as_str());

    assert_eq!(name("/api/x", &[("v", "a")]), Some("both"));
    assert_eq!(name("/", &[("v", "a")]), Some("one"));
    assert_eq!(name("/api", &[]), None);
}

#[test]
fn what_is_typed_is_told_again_in_the_same_words() {
    for text in [
        "header:v=a=b",
        "header:v^=a",
        "header:v~=^a.*$",
        "cookie:n=v",
        "path:/p",
        "baggage:k=v",
        "tracestate:a@b=c",
    ] {
        assert_eq!(rule(text).to_string(), text);
    }
}

#[test]
fn what_is_no_rule_is_told_with_what_would_be_one() {
    let told = |text: &str| MatchRule::parse(text).expect_err(text).to_string();

    for text in ["", "version", "header:version", "body:a=b"] {
        assert!(told(text).contains("use header:NAME=VALUE"), "{}", told(text));
    }
    assert_eq!(told("path:api"), "the path \"api\" has to begin with /");
    assert!(told("header:a b=c").starts_with("\"a b\" can not be"));
    assert!(told("header:v~=(").starts_with("\"(\" is no regular expression"));
}

#[test]
fn two_lists_exclude_each_other_only_where_that_is_certain() {
    let both = |one: &str, other: &str| may_both_match(&[rule(one)], &[rule(other)]);

    assert!(!both("header:v=a", "header:V=b"));
    assert!(!both("header:v=a", "header:v^=b"));
    assert!(!both("header:v~=b+", "header:v=a"));
    assert!(!both("header:v^=aa", "header:v^=ab"));
    assert!(!both("cookie:v=a", "cookie:v=b"));
    assert!(!both("path:/a", "path:/b"));
    assert!(both("path:/a", "path:/a/b"));
    assert!(both("header:v=a", "header:v=a"));
    assert!(both("header:v=a", "header:w=b"));
    assert!(both("header:v~=a", "header:v~=b"));
    assert!(both("header:v^=a", "header:v^=ab"));
    assert!(!may_both_match(&[rule("path:/"), rule("header:v=a")], &[rule("header:v=b")]));
    assert!(!may_both_match(&[], &[rule("path:/")]), "a list without rules matches nothing");
}
