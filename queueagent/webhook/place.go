package webhook

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/pillion-proxy/pillion/internal/tlsfiles"
)

// TLS holds the settings of a TLS client. Files are PEM-encoded.
type TLS struct {
	// CA names the authorities to trust, in place of the system's.
	CA string `yaml:"ca"`
	// Cert and Key are the client certificate and its private key. They are read
	// again when they change.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ServerName is the name in the application's certificate, where it is not the
	// URL's host.
	ServerName string `yaml:"server_name"`
	// MinVersion is 1.2, also when it is empty, or 1.3.
	MinVersion string `yaml:"min_version"`
}

// App is where an application listens.
type App struct {
	// Address is host:port, or the path of a Unix socket, which begins with "/".
	Address string
	// Host is the Host header; empty: the address, or localhost for a Unix socket.
	Host string
	// TLS has what a handshake needs, ServerName included, or is nil for plain HTTP. It
	// must not be changed any more.
	TLS *tls.Config
	// Setting is the key under which all this was configured, for messages, such as
	// upstream; empty: there was none.
	Setting string
}

// place is where requests go, whatever their path.
type place struct {
	network, addr string      // what a dialler takes
	host          string      // the Host header
	tls           *tls.Config // nil: plain HTTP
	shown         string      // what stands before the path, for people
	// Where the TLS settings are, and the key of the address, for messages.
	tlsAt, urlKey string
}

// isPath says whether a setting names a path, not a URL.
func isPath(raw string) bool { return strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") }

// IsPath says whether the URL is a path on App.
func (c Config) IsPath() bool { return isPath(c.URL) }

// place gives where the application is; nil: that is not said.
func (a App) place() (*place, error) {
	if a.Address == "" {
		return nil, nil
	}
	socket := strings.HasPrefix(a.Address, "/")
	if _, _, err := net.SplitHostPort(a.Address); err != nil && !socket {
		return nil, fmt.Errorf("webhook.App.Address %q: write host:port, or the path of a Unix socket", a.Address)
	}
	if hasControl(a.Host) || strings.Contains(a.Host, " ") {
		return nil, fmt.Errorf("webhook.App.Host %q: write a host, or a host and a port", a.Host)
	}
	p := &place{network: "tcp", addr: a.Address, host: a.Host, tls: a.TLS, tlsAt: a.Setting, urlKey: a.Setting + ".url"}
	if a.Setting == "" {
		p.tlsAt, p.urlKey = "webhook.App", "webhook.App.Address"
	}
	switch {
	case a.Host != "":
	case socket:
		p.host = "localhost"
	default:
		p.host = a.Address
	}
	p.shown = p.scheme() + p.host
	if socket {
		p.network, p.shown = "unix", p.scheme()+"unix:"+a.Address+":"
	}
	return p, nil
}

func (p *place) scheme() string {
	if p.tls != nil {
		return "https://"
	}
	return "http://"
}

// newPlace takes it from the URL of a setting.
func newPlace(setting string, u *url.URL, t TLS) (*place, error) {
	p := &place{network: "tcp", addr: u.Host, host: u.Host, tlsAt: "webhook", urlKey: setting}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
		var err error
		if p.tls, err = tlsfiles.Client(t).Config(u.Hostname(), p.tlsAt); err != nil {
			return nil, err
		}
	}
	if u.Port() == "" {
		p.addr = net.JoinHostPort(u.Hostname(), port)
	}
	p.shown = p.scheme() + p.host
	return p, nil
}

// checkTLS refuses TLS settings that no URL makes use of.
func (c Config) checkTLS() error {
	if c.TLS.unused() || strings.HasPrefix(c.URL, "https://") || strings.HasPrefix(c.Ready, "https://") {
		return nil
	}
	return errors.New("webhook.tls is set, but webhook.url does not begin with https://: write https:// in webhook.url, or remove webhook.tls")
}

// unused says whether nothing is set that needs TLS.
func (t TLS) unused() bool { return t == TLS{} || t == TLS{MinVersion: "1.2"} }
