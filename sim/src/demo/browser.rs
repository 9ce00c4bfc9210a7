//! Submits the page's forms as a browser without scripts would: it reads the
//! page, takes the form's own hidden fields, and posts them back.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A browser of one person.
pub struct Browser {
    agent: Agent,
    base: String,
}

/// A page.
pub struct Page {
    /// HTTP status.
    pub status: u16,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Page {
    /// Its text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Browser {
    /// A browser that looks at `base`, an address without a slash at its end.
    pub fn new(base: &str) -> Browser {
        Browser::with(base, TlsConfig::default())
    }

    /// The same over TLS, with a root of the operator's: a PEM file.
    pub fn trusting(base: &str, root: &Path) -> Result<Browser, String> {
        let named = |e: &dyn std::fmt::Display| format!("{}: {e}", root.display());
        let pem = std::fs::read(root).map_err(|e| named(&e))?;
        let root = Certificate::from_pem(&pem).map_err(|e| named(&e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(RootCerts::new_with_certs(&[root]))
            .build();
        Ok(Browser::with(base, tls))
    }

    fn with(base: &str, tls: TlsConfig) -> Browser {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .user_agent("Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0")
            .tls_config(tls)
            .build();
        Browser {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
        }
    }

    /// Loads a page.
    pub fn get(&self, path: &str) -> Result<Page, String> {
        let answer = self.agent.get(format!("{}{path}", self.base)).call();
        page(answer, path)
    }

    /// Loads `at`, takes the form that posts to `action`, fills it in, and
    /// submits it.
    pub fn submit(&self, at: &str, action: &str, fields: &[(&str, &str)]) -> Result<Page, String> {
        let html = self.get(at)?.text();
        self.submit_from(&html, action, fields)
    }

    /// Submits the form of a page that was loaded before.
    pub fn submit_from(
        &self,
        html: &str,
        action: &str,
        fields: &[(&str, &str)],
    ) -> Result<Page, String> {
        let form =
            form(html, action).ok_or_else(|| format!("the page has no form for {action}"))?;
        let mut all = hidden(form);
        all.extend(
            fields
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned())),
        );
        let answer = self
            .agent
            .post(format!("{}{action}", self.base))
            .send_form(all.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        page(answer, action)
    }

    /// Signs in.
    pub fn sign_in(&self, email: &str, password: &str, remember: bool) -> Result<(), String> {
        let mut fields = vec![("email", email), ("password", password)];
        if remember {
            fields.push(("remember", "yes"));
        }
        let page = self.submit("/login", "/login", &fields)?;
        if page.status == 200 && page.text().contains("Sign out") {
            Ok(())
        } else {
            Err(format!("signing in failed with status {}", page.status))
        }
    }

    /// Types a code, checks that the page shows `model`, and allows it.
    pub fn activate(&self, code: &str, model: &str, remember: bool) -> Result<(), String> {
        let confirm = self
            .submit("/activate", "/activate", &[("code", code)])?
            .text();
        if !confirm.contains(model) {
            return Err("the page does not say which device asks".to_owned());
        }
        let mut fields = vec![("decision", "allow")];
        if remember {
            fields.push(("remember", "yes"));
        }
        let done = self.submit_from(&confirm, "/activate/confirm", &fields)?;
        match done.status {
            200 => Ok(()),
            status => Err(format!("consent failed with status {status}")),
        }
    }

    /// The entry of the device list that holds `text`.
    pub fn entry(&self, text: &str) -> Result<String, String> {
        let html = self.get("/account/devices")?.text();
        html.split("<li class=\"card device")
            .find(|entry| entry.contains(text))
            .map(str::to_owned)
            .ok_or_else(|| format!("the list has no entry with {text}"))
    }

    /// Waits until that entry says `state`.
    pub fn wait_state(&self, text: &str, state: &str) -> Result<String, String> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(entry) = self.entry(text)
                && entry.contains(&format!("<strong>{state}</strong>"))
            {
                return Ok(entry);
            }
            if Instant::now() > until {
                return Err(format!("the page does not come to say {state}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The link in `html` that ends in `tail`.
pub(super) fn link<'h>(html: &'h str, tail: &str) -> Option<&'h str> {
    html.split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .find(|href| href.ends_with(tail))
}

fn page(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    path: &str,
) -> Result<Page, String> {
    let mut answer = answer.map_err(|e| format!("{path}: {e}"))?;
    let bytes = answer
        .body_mut()
        .read_to_vec()
        .map_err(|e| format!("{path}: {e}"))?;
    Ok(Page {
        status: answer.status().as_u16(),
        bytes,
    })
}

fn form<'h>(html: &'h str, action: &str) -> Option<&'h str> {
    html.split("<form")
        .skip(1)
        .filter_map(|rest| rest.split("</form>").next())
        .find(|form| attribute(form, "action") == Some(action))
}

fn hidden(form: &str) -> Vec<(String, String)> {
    form.split("<input")
        .skip(1)
        .filter_map(|rest| rest.split('>').next())
        .filter(|tag| attribute(tag, "type") == Some("hidden"))
        .filter_map(|tag| {
            let value = attribute(tag, "value")?.to_owned();
            Some((attribute(tag, "name")?.to_owned(), value))
        })
        .collect()
}

fn attribute<'h>(tag: &'h str, name: &str) -> Option<&'h str> {
    tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next()
}
