//! Answers: what form the client wants, and the one place where values and errors become HTTP.

use crate::status::{ApiError, NO_SUCH_PAGE};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde_json::Value;
use std::convert::Infallible;

/// A response body.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

const JSON: &str = "application/json";

/// How the client wants objects shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Object,
    /// Columns and cells.
    Table,
    /// Metadata only.
    Metadata,
}

/// Chooses a form by an `Accept` header. Protobuf and other encodings are not offered: a client
/// that takes nothing else is told so with 406.
pub(super) fn form(accept: Option<&str>) -> Result<Form, ApiError> {
    let accept = accept.unwrap_or("*/*");
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "application/*" | "*/*" | "") {
            continue;
        }
        let params: Vec<&str> = parts.collect();
        let of_meta = params.contains(&"g=meta.k8s.io");
        match params.iter().find_map(|p| p.strip_prefix("as=")) {
            None => return Ok(Form::Object),
            Some("Table") if of_meta => return Ok(Form::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if of_meta => {
                return Ok(Form::Metadata);
            }
            Some(_) => {}
        }
    }
    Err(ApiError::not_acceptable(JSON))
}

/// Whether the client prefers discovery in one document.
pub(super) fn wants_aggregated(accept: Option<&str>) -> Option<&'static str> {
    for range in accept.unwrap_or_default().split(',') {
        let params: Vec<&str> = range.split(';').map(str::trim).collect();
        if params.contains(&"g=apidiscovery.k8s.io") {
            for version in ["v2", "v2beta1"] {
                if params.contains(&format!("v={version}").as_str()) {
                    return Some(version);
                }
            }
        } else if params.first() == Some(&JSON) {
            return None;
        }
    }
    None
}

/// An answer.
pub(super) struct Reply {
    code: StatusCode,
    content_type: HeaderValue,
    body: Body,
    warnings: Vec<String>,
    retry_after: Option<u32>,
    /// The connection is something else from here on; these headers say what.
    switch: Option<HeaderMap>,
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

impl Reply {
    /// A JSON document.
    pub(super) fn json(code: StatusCode, value: &impl Serialize) -> Self {
        Self::json_as(code, value, HeaderValue::from_static(JSON))
    }

    /// A JSON document under another media type.
    pub(super) fn json_as(
        code: StatusCode,
        value: &impl Serialize,
        content_type: HeaderValue,
    ) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => Self::bytes(code, bytes, content_type),
            Err(error) => Self::from(ApiError::internal(error)),
        }
    }

    /// 200 with a JSON document.
    pub(super) fn ok(value: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// 200 with text.
    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
        Self::bytes(StatusCode::OK, text, content_type)
    }

    /// Bytes.
    pub(super) fn bytes(
        code: StatusCode,
        bytes: impl Into<Bytes>,
        content_type: HeaderValue,
    ) -> Self {
        Self {
            code,
            content_type,
            body: full(bytes),
            warnings: Vec::new(),
            retry_after: None,
            switch: None,
        }
    }

    /// 200 with a body that goes on.
    pub(super) fn stream(body: Body, content_type: &'static str) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        let code = StatusCode::OK;
        Self {
            code,
            content_type,
            body,
            warnings: Vec::new(),
            retry_after: None,
            switch: None,
        }
    }

    /// 101: what follows is another protocol.
    pub(super) fn switch(headers: HeaderMap) -> Self {
        Self {
            switch: Some(headers),
            ..Self::bytes(
                StatusCode::SWITCHING_PROTOCOLS,
                "",
                HeaderValue::from_static(""),
            )
        }
    }

    /// Adds `Warning` headers.
    pub(super) fn warn(mut self, warnings: Vec<String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// The HTTP response.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.code;
        if let Some(headers) = self.switch {
            *response.headers_mut() = headers;
            return response;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type);
        for warning in self.warnings {
            // RFC 7234 section 5.5, as kube-apiserver writes it.
            let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
            let quoted: String = quoted
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
                headers.append(WARNING, value);
            }
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        if error.reason == NO_SUCH_PAGE {
            let page = format!("{}\n", error.message);
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            return Self::bytes(StatusCode::NOT_FOUND, page, plain);
        }
        let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let value: Value = error.to_value();
        let mut reply = Self::bytes(code, value.to_string(), HeaderValue::from_static(JSON));
        reply.retry_after = error.details.and_then(|d| d.retry_after_seconds);
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_form_they_ask_for_or_json() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                       application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(Some(kubectl)).unwrap(), Form::Table);
        let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(form(Some(partial)).unwrap(), Form::Metadata);
        let go = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(form(Some(go)).unwrap(), Form::Object);
        assert_eq!(form(None).unwrap(), Form::Object);
        let error = form(Some("application/vnd.kubernetes.protobuf")).unwrap_err();
        assert_eq!(error.code, 406);
    }
}
