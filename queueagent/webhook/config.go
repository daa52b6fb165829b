package webhook

import (
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// Config is an HTTP endpoint of the application.
type Config struct {
	// URL is http://, https:// or a path on App, which begins with "/". "{type}" in its
	// path takes the task's type, percent-encoded.
	URL string `yaml:"url"`
	// Upstream names the entry of upstreams that a URL without a host is a path on;
	// empty: it is one on the main application. Package pillion sets App by it.
	Upstream string `yaml:"upstream"`
	// App is the application that a URL without a host is a path on. A configuration
	// file has none: there it is what upstream names.
	App App `yaml:"-"`
	// TLS is for https:// in URL and Ready.
	TLS TLS `yaml:"tls"`
	// Timeout bounds one delivery, connection included.
	Timeout time.Duration `yaml:"timeout"`
	// Secret signs deliveries as Standard Webhooks says, when set: "whsec_" and
	// base64, or the raw bytes.
	Secret string `yaml:"secret" secret:"true"`
	// Secrets are further ones, for a rotation: each delivery carries a signature
	// for each, that of Secret first.
	Secrets []string `yaml:"secrets" secret:"true"`
	// ContentType is the Content-Type of deliveries; empty: application/json.
	ContentType string `yaml:"content_type"`
	// Headers are further request headers, the same for each delivery. Their values
	// are treated as secrets.
	Headers map[string]string `yaml:"headers" secret:"true"`
	// Ready is a URL, or a path where the webhook is, that answers a GET with 2xx
	// when the application can take tasks. When empty, it is not asked.
	Ready string `yaml:"ready"`
	// AcceptedLease makes each answer 202 mean that the application goes on working
	// for at most that long, and acknowledges later; 0: only one that says so in the
	// header Pillion-Lease.
	AcceptedLease time.Duration `yaml:"accepted_lease"`
}

// DefaultContentType is what payloads are unless the configuration says otherwise.
const DefaultContentType = "application/json"

// Bounds of the lease of a task that the application acknowledges later.
const (
	MinAcceptedLease = time.Second
	MaxAcceptedLease = 24 * time.Hour
)

// Bounds of the headers that a configuration may add.
const (
	MaxHeaders     = 32
	maxHeaderName  = 128
	maxHeaderValue = 4096
)

// ContentTypeProblem says what is wrong with a content type; empty: nothing.
func ContentTypeProblem(value string) string {
	if value == "" {
		return ""
	}
	kind, _, err := mime.ParseMediaType(value)
	if err != nil || !strings.Contains(kind, "/") || hasControl(value) || len(value) > maxHeaderName {
		return "is not a content type"
	}
	return ""
}

// HeaderProblem says what is wrong with a header that a configuration adds, without
// its value, which may be a secret; empty: nothing.
func HeaderProblem(name, value string) string {
	lower := strings.ToLower(name)
	switch {
	case len(name) > maxHeaderName || !isToken(name):
		return "is not a valid header name"
	case lower == "content-type":
		return "is what webhook.content_type is for"
	case slices.Contains(ownHeaders(), lower) || strings.HasPrefix(lower, "pillion-"):
		return "is a header that pillion sets itself"
	case slices.Contains(framingHeaders(), lower):
		return "is a header of the connection, not of the delivery"
	case len(value) > maxHeaderValue:
		return fmt.Sprintf("has a value of more than %d bytes", maxHeaderValue)
	case hasControl(value):
		return "has a value with a control character"
	case strings.Trim(value, " ") != value:
		return "has a value that begins or ends with a space"
	}
	return ""
}

// isToken says whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	})
}

func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

func ownHeaders() []string {
	return []string{
		"host", "user-agent", "content-length", "webhook-id", "webhook-timestamp", "webhook-signature", "idempotency-key",
		"ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "traceparent", "tracestate",
	}
}

func framingHeaders() []string {
	return []string{
		"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
		"transfer-encoding", "upgrade", "expect", "http2-settings",
	}
}

// headerBlock gives the lines of the headers that the configuration adds, by name.
func (c Config) headerBlock() ([]byte, error) {
	if len(c.Headers) > MaxHeaders {
		return nil, fmt.Errorf("webhook.headers has %d headers: keep at most %d", len(c.Headers), MaxHeaders)
	}
	var block []byte
	seen := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		if wrong := HeaderProblem(name, c.Headers[name]); wrong != "" {
			return nil, fmt.Errorf("webhook.headers: %q %s: change or remove it", name, wrong)
		}
		key := textproto.CanonicalMIMEHeaderKey(name)
		if other, twice := seen[key]; twice {
			return nil, fmt.Errorf("webhook.headers: %q is the same header as %q: remove one of the two", name, other)
		}
		seen[key] = name
		block = appendLine(block, name, c.Headers[name])
	}
	return block, nil
}

func (c Config) check() error {
	switch {
	case c.Timeout <= 0:
		return fmt.Errorf("webhook.timeout %s: set more than 0", c.Timeout)
	case c.AcceptedLease != 0 && (c.AcceptedLease < MinAcceptedLease || c.AcceptedLease > MaxAcceptedLease):
		return fmt.Errorf("webhook.accepted_lease %s: set %s to %s, or 0 for off", c.AcceptedLease, MinAcceptedLease, MaxAcceptedLease)
	case ContentTypeProblem(c.ContentType) != "":
		return fmt.Errorf("webhook.content_type %q is not a content type: write one such as application/json", c.ContentType)
	case strings.Contains(c.Ready, typeHole):
		return errors.New("webhook.ready has {type} in it: write one URL or path for all tasks")
	}
	return c.checkTLS()
}
