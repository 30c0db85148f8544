//! The application of a Django project: what `WSGI_APPLICATION` of its settings names, else the wsgi.py that is nearest to
//! them.
//!
//! As little as everywhere in this crate is anything imported: settings that are put together in other ways are for the
//! operator to explain.

use std::path::Path;

use crate::{env_file::is_name, source};

/// Module and callable, if there is a manage.py; or why they cannot be told.
pub(crate) fn find(project: &Path) -> Result<Option<(String, String)>, String> {
    let Some(manage) = source::python_source(&project.join("manage.py"))? else { return Ok(None) };
    let settings = settings_module(&manage).ok_or("manage.py does not name DJANGO_SETTINGS_MODULE")?;
    let path = settings.replace('.', "/");
    for file in [format!("{path}.py"), format!("{path}/__init__.py")] {
        if let Some(text) = source::python_source(&project.join(file))?
            && let Some((module, callable)) = wsgi_application(&text)
        {
            return Ok(Some((module.to_owned(), callable.to_owned())));
        }
    }
    let mut package = settings;
    while let Some((outer, _)) = package.rsplit_once('.') {
        package = outer;
        if project.join(package.replace('.', "/")).join("wsgi.py").is_file() {
            return Ok(Some((format!("{package}.wsgi"), "application".to_owned())));
        }
    }
    Err(format!("the settings of manage.py, {settings}, have no WSGI_APPLICATION, and there is no wsgi.py beside them"))
}

/// The settings that manage.py names.
fn settings_module(manage: &str) -> Option<&str> {
    let (_, rest) = manage.split_once("DJANGO_SETTINGS_MODULE")?;
    let settings = quoted(rest.get(1..)?)?;
    settings.split('.').all(is_name).then_some(settings)
}

/// `WSGI_APPLICATION = "shop.wsgi.application"`: module and callable.
fn wsgi_application(settings: &str) -> Option<(&str, &str)> {
    let lines = settings.lines().filter_map(|line| line.strip_prefix("WSGI_APPLICATION"));
    let value = lines.filter_map(|rest| rest.trim_start().strip_prefix('=')).find_map(quoted)?;
    value.split('.').all(is_name).then(|| value.rsplit_once('.')).flatten()
}

/// The first text in quotes.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.find(['"', '\''])?;
    text.get(quote + 1..)?.split(['"', '\'']).next()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_application_is_what_the_settings_name_or_what_lies_next_to_them() {
        let manage = |settings: &str| format!("os.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", '{settings}')\n");
        let named = "DEBUG = False\nWSGI_APPLICATION = \"other.web.app\"\n";
        for (settings, files, expected) in [
            ("shop.settings", &[("shop/settings.py", ""), ("shop/wsgi.py", "")][..], "shop.wsgi:application"),
            ("shop.conf.production", &[("shop/conf/production.py", ""), ("shop/wsgi.py", "")], "shop.wsgi:application"),
            ("shop.conf.production", &[("shop/conf/production.py", named), ("shop/wsgi.py", "")], "other.web:app"),
            ("shop.settings", &[("shop/settings/__init__.py", named)], "other.web:app"),
            ("settings", &[("settings.py", named)], "other.web:app"),
            ("settings", &[("settings.py", "WSGI_APPLICATION = make()\n")], "no WSGI_APPLICATION"),
            ("shop.settings", &[], "no WSGI_APPLICATION"),
            ("not a name", &[], "does not name"),
        ] {
            let project = tempfile::tempdir().unwrap();
            let file = |name: &str, text: &str| {
                let path = project.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            file("manage.py", &manage(settings));
            files.iter().for_each(|(name, text)| file(name, text));
            match find(project.path()) {
                Ok(found) => assert_eq!(found.map(|(module, app)| format!("{module}:{app}")).unwrap(), expected),
                Err(why) => assert!(why.contains(expected), "{why}"),
            }
        }
    }
}
