//! A Django project as its own tool lays it out, unchanged.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Client, Project, Response};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const URLS: &str = include_str!("apps/django/shop/urls.py");

fn project() -> Project {
    let project = Project::new(TIERCE, "", "workers = 2");
    std::fs::remove_file(project.path().join("app.py")).unwrap();
    project.write("manage.py", include_str!("apps/django/manage.py"));
    project.write("shop/__init__.py", "");
    project.write("shop/settings.py", include_str!("apps/django/shop/settings.py"));
    project.write("shop/wsgi.py", include_str!("apps/django/shop/wsgi.py"));
    project.write("shop/urls.py", URLS);
    project
}

fn ask(client: &mut Client, method: &str, path: &str, fields: &str, body: &str) -> Response {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}Content-Length: {length}\r\n\r\n");
    client.send(head + body).unwrap();
    client.response().unwrap()
}

fn cookie(response: &Response, name: &str) -> String {
    let cookies = response.fields.iter().filter(|(field, _)| field == "set-cookie");
    let found = cookies.filter_map(|(_, value)| value.split(';').next()).find(|pair| pair.starts_with(name));
    found.unwrap_or_else(|| panic!("no cookie {name} in {:?}", response.fields)).to_owned()
}

#[test]
fn django_runs_as_it_is() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    assert!(running.err().contains("found shop.wsgi:application in manage.py"), "{}", running.err());
    let mut client = running.client();
    let first = ask(&mut client, "GET", "/?q=caf%C3%A9", "", "");
    assert_eq!((first.status, first.text().as_str()), (200, "caf\u{e9} 1"));
    let session = format!("Cookie: {}\r\n", cookie(&first, "sessionid"));
    assert_eq!(ask(&mut client, "GET", "/", &session, "").text(), " 2", "another worker knows the session");
    assert_eq!(ask(&mut client, "GET", "/stream/", "", "").text(), "0\n1\n2\n3\n4\n");
    assert_eq!(ask(&mut client, "GET", "/file/", "", "").text(), URLS);
    assert_eq!(ask(&mut client, "GET", "/nowhere/", "", "").status, 404);
    let moved = ask(&mut client, "GET", "/stream", "", "");
    assert_eq!((moved.status, moved.field("location")), (301, Some("/stream/")));
    assert_eq!(client.get("/").unwrap().status, 400, "the Host field arrives as it was sent, and is none of its hosts");
    assert_eq!(ask(&mut client, "GET", "/broken/", "", "").status, 500, "Django's own page");
}

#[test]
fn forms_and_uploads_arrive() {
    let project = project();
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    let page = ask(&mut client, "GET", "/token/", "", "");
    let safe = format!("Cookie: {}\r\nX-CSRFToken: {}\r\n", cookie(&page, "csrftoken"), page.text());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(ask(&mut client, "POST", "/form/", form, "name=Ada").status, 403, "the protection is at work");
    let answer = ask(&mut client, "POST", "/form/", &format!("{safe}{form}"), "name=Ada+L.&x=%C3%A9");
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"name": "Ada L.", "bytes": 0}"#));
    let part = "--b\r\nContent-Disposition: form-data; name=";
    let file = "z".repeat(3_000_000);
    let body = format!(
        "{part}\"name\"\r\n\r\nAda\r\n{part}\"file\"; filename=\"f\"\r\nContent-Type: text/plain\r\n\r\n{file}\r\n--b--\r\n"
    );
    let fields = format!("{safe}Content-Type: multipart/form-data; boundary=b\r\n");
    let answer = ask(&mut client, "POST", "/form/", &fields, &body);
    assert_eq!(answer.text(), r#"{"name": "Ada", "bytes": 3000000}"#);
}
