//! What went wrong with a request, in words for people.

use std::error::Error as _;

/// What the API server said; else the error with all that caused it, each said once: the outer
/// errors rarely name the reason.
pub fn said(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn what_the_server_said_is_said_as_it_said_it() {
        let status = Status::failure("services \"web\" is forbidden", "Forbidden").with_code(403);
        let error = kube::Error::Api(Box::new(status));
        assert_eq!(said(&error), "services \"web\" is forbidden");
    }

    #[test]
    fn other_errors_name_their_causes_once() {
        let io = std::io::Error::other("connection refused");
        let text = said(&kube::Error::ReadEvents(io));
        assert_eq!(text.matches("connection refused").count(), 1, "{text}");
    }
}
