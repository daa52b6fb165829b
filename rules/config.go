package rules

// Match says which requests a rule is for. Every condition that is set must
// hold; a condition that is not set holds for every request.
type Match struct {
	// Path is a glob over the canonical path: "*" matches within one segment,
	// "**" any number of segments, also none, "{name}" one whole segment, which is
	// captured. "/static/**" matches "/static" too.
	Path string `yaml:"path"`
	// Methods lists the request methods, in capitals. GET includes HEAD.
	Methods []string `yaml:"methods"`
	// Hosts lists host names without a port; "*.example.com" matches every
	// subdomain. Case does not matter.
	Hosts []string `yaml:"hosts"`
	// Headers maps a field name to a glob ("*" matches any characters) that one
	// of its values must match.
	Headers map[string]string `yaml:"headers"`
	// Query maps a parameter name to a glob that one of its values must match.
	Query map[string]string `yaml:"query"`
}
