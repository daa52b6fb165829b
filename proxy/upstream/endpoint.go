package upstream

import "crypto/tls"

// Endpoint says how to reach the application on connections that are not the client's.
type Endpoint struct {
	// Address is host:port, or the path of a Unix socket, which begins with "/".
	Address string
	// Host is for the Host field of a request that no client's request has led to:
	// what the URL has, or localhost for a Unix socket.
	Host string
	// TLS has what a handshake needs, or is nil for none. It must not be changed.
	TLS *tls.Config
	// Setting is the key under which the client's Config stands, for messages.
	Setting string
}

// Endpoint gives where the application is, with the client's own TLS settings: a client
// certificate is read again when it changes.
func (c *Client) Endpoint() Endpoint {
	return Endpoint{Address: c.target.address, Host: c.target.authority, TLS: c.tls, Setting: c.opt.setting}
}
