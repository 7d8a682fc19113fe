//! Label and field selectors: read from a query, matched against stored objects.

mod fields;
mod labels;

pub(super) use fields::FieldSelector;
pub(super) use labels::LabelSelector;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn labelled(selector: &str, labels: Value) -> bool {
        let selector = LabelSelector::parse(selector).unwrap();
        selector.matches(&json!({"metadata": {"labels": labels}}))
    }

    #[test]
    fn every_label_operator_works() {
        let web = || json!({"app": "web", "a.b/c": "3"});
        for yes in [
            "app=web",
            "app == web",
            "app!=x",
            "app",
            "!gone",
            "app in (web, y)",
            "app notin (x,y),a.b/c>2",
            "a.b/c<4",
            "gone notin (x)",
            "gone!=x",
            "",
        ] {
            assert!(labelled(yes, web()), "{yes}");
        }
        for no in [
            "app=x",
            "!app",
            "gone",
            "app in (x)",
            "app notin (web)",
            "a.b/c>3",
            "app=web,x",
        ] {
            assert!(!labelled(no, web()), "{no}");
        }
    }

    #[test]
    fn unreadable_label_selectors_are_bad_requests() {
        for bad in ["app in web", "a b", "=x", "app in (x", "a>b", "x=y z", ","] {
            assert_eq!(LabelSelector::parse(bad).unwrap_err().code, 400, "{bad}");
        }
    }

    #[test]
    fn field_selectors_follow_dotted_paths() {
        let pod = json!({"metadata": {"name": "x"}, "status": {"phase": "Running"}});
        let matches = |s: &str| FieldSelector::parse(s).unwrap().matches(&pod);
        assert!(matches("status.phase=Running,metadata.name!=y"));
        assert!(!matches("status.phase!=Running"));
        assert!(matches("spec.nodeName="));
        assert_eq!(FieldSelector::parse("x").unwrap_err().code, 400);
    }
}
