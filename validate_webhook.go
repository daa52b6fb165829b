package pillion

import (
	"net/url"
	"strings"

	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

// webhookPlace checks where tasks go.
func (v *validator) webhookPlace(at string, w queueagent.Webhook) {
	v.webhookURL(at+".url", w.URL, "write a path on the application, such as /tasks/{type}, or http://host:port/path or https://host/path")
	v.webhookReady(at+".ready", w.Ready)
	if key := at + ".upstream"; w.Upstream == "" || w.IsPath() {
		v.upstreamName(key, w.Upstream)
	} else if w.URL != "" && !v.suspect(at+".url") {
		v.add(key, w.Upstream, "is set, but "+at+".url is not a path", "write a path such as /tasks/{type} in "+at+".url, or remove "+key)
	}
	v.webhookTLS(at, w)
}

func (v *validator) webhookTLS(at string, w queueagent.Webhook) {
	t, key := w.TLS, at+".tls"
	unused := t == webhook.TLS{} || t == queueagent.Default().Webhook.TLS
	secure := strings.HasPrefix(w.URL, "https://") || strings.HasPrefix(w.Ready, "https://")
	switch {
	case unused || secure || v.suspect(at+".url"):
	case w.IsPath():
		v.add(key, "", "is set, but "+at+".url is a path, and its application has TLS settings of its own", "set those of "+orMain(w.Upstream)+", or remove "+key)
	default:
		v.add(key, "", "is set, but "+at+".url does not begin with https://", "write https:// in "+at+".url, or remove "+key)
	}
	v.tlsFiles(key, t.CA, t.Cert, t.Key, t.ServerName)
	v.word(key+".min_version", t.MinVersion, "a version of TLS that is safe", "1.2", "1.3")
}

// orMain gives what a person calls the application of that name.
func orMain(upstream string) string {
	if upstream == "" {
		return "upstream"
	}
	return "the entry " + upstream + " of upstreams"
}

// webhookURL checks a URL, or a path on the application.
func (v *validator) webhookURL(key, text, remedy string) {
	whole, what := text, "a URL"
	if (queueagent.Webhook{URL: text}).IsPath() {
		whole, what = "http://application"+text, "a path"
	}
	u, err := url.Parse(whole)
	switch {
	case text == "":
		v.add(key, "", "is empty", remedy)
	case strings.ContainsAny(outsidePath(whole), "{}"):
		v.add(key, text, "has a placeholder outside its path", "write {type} only in the path")
	case err != nil:
		v.add(key, text, "is not "+what, remedy)
	case u.Scheme == "unix":
		v.add(key, text, "is a socket, without a path for tasks", "write the socket in upstream.url, or in an entry of upstreams, and the path alone here")
	case u.Scheme != "http" && u.Scheme != "https":
		v.add(key, text, "has neither the scheme http nor https", remedy)
	case !hostName(u.Hostname()):
		v.add(key, text, "has no valid host", remedy)
	case u.User != nil:
		v.add(key, text, "has a user in it", "set webhook.headers, or sign deliveries with webhook.secret")
	case !portNumber(u.Port(), true):
		v.add(key, text, "has no valid port", "write a port from 1 to 65535")
	case u.Fragment != "":
		v.add(key, text, "has a fragment, which is never sent", "remove the # and what follows it")
	case strings.ContainsAny(strings.ReplaceAll(u.Path, "{type}", ""), "{}"):
		v.add(key, text, "has a placeholder other than {type}", "write {type} for the type of the task")
	}
}

// outsidePath gives what is before and behind the path of a URL.
func outsidePath(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return ""
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		return scheme + rest
	}
	before, path := rest[:end], rest[end:]
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return scheme + before + path[i:]
	}
	return scheme + before
}

func (v *validator) webhookReady(key, text string) {
	const remedy = "write a path such as /readyz, or http://host:port/path"
	switch {
	case text == "":
	case strings.ContainsAny(text, "{}"):
		v.add(key, text, "has a placeholder", "write one URL or path for all tasks")
	case !strings.HasPrefix(text, "/") && !strings.Contains(text, "://"):
		v.add(key, text, "is neither a path nor a URL", remedy)
	default:
		v.webhookURL(key, text, remedy)
	}
}
