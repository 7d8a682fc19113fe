use http::{Request, StatusCode, uri::Scheme};
use linkerd2_proxy_api::{http_route as api, http_types};

use super::*;

fn get(uri: &str) -> Request<()> {
    let request = Request::get(uri).header("host", "web.default:80");
    request.body(()).unwrap()
}

fn redirected(redirect: Redirect, request: &mut Request<()>, prefix: Option<usize>) -> String {
    match on_request(&[Filter::Redirect(redirect)], request, prefix) {
        Err(Error::Redirect { location, .. }) => location.to_str().unwrap().to_owned(),
        Err(Error::InvalidPolicy(_)) => "invalid".to_owned(),
        Ok(()) => "nowhere".to_owned(),
        other => panic!("{other:?}"),
    }
}

const NONE: Redirect = Redirect {
    scheme: None,
    host: None,
    port: None,
    path: None,
    status: StatusCode::FOUND,
};

#[test]
fn headers_are_added_then_set_then_removed() {
    let header = |name: &str, value: &str| http_types::headers::Header {
        name: name.into(),
        value: value.into(),
    };
    let list = |headers| Some(http_types::Headers { headers });
    let change = api::RequestHeaderModifier {
        add: list(vec![header("a", "2"), header("c", "2")]),
        set: list(vec![header("b", "3")]),
        remove: vec!["c".into()],
    };
    let mut request = Request::get("/").header("a", "1").header("b", "1");
    request = request.header("c", "1");
    let mut request = request.body(()).unwrap();
    let filter = Filter::request_headers(change).unwrap();
    on_request(&[filter], &mut request, None).unwrap();
    let a: Vec<_> = request.headers().get_all("a").iter().collect();
    assert_eq!(a, ["1", "2"]);
    assert_eq!(request.headers()["b"], "3");
    assert!(!request.headers().contains_key("c"));
}

#[test]
fn a_redirect_keeps_what_it_does_not_change() {
    let host = Redirect {
        host: Some("new.example".to_owned()),
        ..NONE
    };
    let location = redirected(host.clone(), &mut get("/a?b"), None);
    assert_eq!(location, "http://new.example/a?b");
    let mut other_port = Request::get("/a?b=c")
        .header("host", "web:8080")
        .body(())
        .unwrap();
    let location = redirected(host, &mut other_port, None);
    assert_eq!(location, "http://new.example:8080/a?b=c");

    let path = Redirect {
        scheme: Some(Scheme::HTTPS),
        port: Some(8443),
        path: Some(PathChange::Prefix("/v2/".to_owned())),
        ..NONE
    };
    let location = redirected(path.clone(), &mut get("/v1/a?q"), Some("/v1".len()));
    assert_eq!(location, "https://web.default:8443/v2/a?q");
    let location = redirected(path, &mut get("/v1/a"), None);
    assert_eq!(location, "invalid", "there is no prefix to replace");

    let full = Redirect {
        path: Some(PathChange::Full("/there?x".to_owned())),
        ..NONE
    };
    let location = redirected(full, &mut get("/a?b"), None);
    assert_eq!(location, "http://web.default/there?x");
}

#[test]
fn another_scheme_has_another_port() {
    let https = Redirect {
        scheme: Some(Scheme::HTTPS),
        ..NONE
    };
    let mut request = get("http://web.default:8080/a");
    let location = redirected(https, &mut request, None);
    assert_eq!(location, "https://web.default/a");
}

#[test]
fn a_redirect_to_itself_is_none() {
    let same = Redirect {
        host: Some("web.default".to_owned()),
        ..NONE
    };
    assert_eq!(redirected(same, &mut get("/a"), None), "nowhere");
}

#[test]
fn failures_hit_the_share_they_were_given() {
    let failure = Failure::Http(StatusCode::IM_A_TEAPOT, "short and stout".to_owned());
    let filters = [Filter::Fail {
        ratio: (1, 10),
        failure,
    }];
    let injected = |roll| on_request_with(&filters, &mut get("/"), None, |_| roll);
    assert!(matches!(
        injected(0),
        Err(Error::InjectedFailure {
            status: StatusCode::IM_A_TEAPOT,
            ..
        })
    ));
    assert!(injected(1).is_ok());
}

#[test]
fn filters_that_cannot_be_followed_are_errors() {
    let ratio = |denominator| {
        Filter::fail_http(api::HttpFailureInjector {
            status: 500,
            message: String::new(),
            ratio: Some(api::Ratio {
                numerator: 1,
                denominator,
            }),
        })
    };
    assert!(ratio(1).is_ok());
    assert!(ratio(0).is_err());
    let redirect = |port| {
        Filter::redirect(api::RequestRedirect {
            port,
            ..Default::default()
        })
    };
    assert!(redirect(80).is_ok());
    assert!(redirect(65_536).is_err());
}
