//! Which full names a name may stand for.

/// The names to ask for, in this order; `search` is the pod's list `<ns>.svc.<domain>`,
/// `svc.<domain>`, `<domain>`.
pub(super) fn candidates(asked: &str, search: &[String]) -> Vec<String> {
    let name = asked.trim_end_matches('.');
    let with = |level: usize| search.get(level).map(|domain| format!("{name}.{domain}"));
    let as_is = || Some(asked.to_owned());
    let labels = name.split('.').count();
    let in_order = match labels {
        1 => [with(0), as_is(), None],
        2 => [with(1), with(0), as_is()],
        3 => [as_is(), with(1), with(2)],
        4 => [as_is(), with(2), None],
        _ => [as_is(), None, None],
    };
    in_order.into_iter().flatten().filter(|name| name.len() <= 253).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Vec<String> {
        let search = ["dev.svc.cluster.local", "svc.cluster.local", "cluster.local"].map(String::from);
        candidates(name, &search)
    }

    #[test]
    fn short_names_are_completed_as_in_a_pod() {
        assert_eq!(of("tomcat"), ["tomcat.dev.svc.cluster.local", "tomcat"]);
        assert_eq!(
            of("tomcat.default"),
            ["tomcat.default.svc.cluster.local", "tomcat.default.dev.svc.cluster.local", "tomcat.default"]
        );
        assert_eq!(
            of("tomcat.default.svc"),
            [
                "tomcat.default.svc",
                "tomcat.default.svc.svc.cluster.local",
                "tomcat.default.svc.cluster.local"
            ]
        );
        assert_eq!(of("p.s.default.svc"), ["p.s.default.svc", "p.s.default.svc.cluster.local"]);
    }

    #[test]
    fn a_full_name_is_asked_as_it_is() {
        assert_eq!(of("tomcat.default.svc.cluster.local"), ["tomcat.default.svc.cluster.local"]);
    }

    #[test]
    fn without_a_search_list_names_are_asked_as_they_are() {
        assert_eq!(candidates("tomcat.default", &[]), ["tomcat.default"]);
    }
}
