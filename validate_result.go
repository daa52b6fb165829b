package pillion

import (
	"fmt"
	"strings"
	"time"

	"github.com/pillion-proxy/pillion/internal/strictyaml"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// sessionResult checks what follows from a session check.
func (v *validator) sessionResult(s *sessioncheck.Config) {
	for _, p := range s.ResultProblems() {
		key := "session." + p.Field
		if name, ok := strings.CutPrefix(p.Field, "jwt.claims."); ok {
			key = keyPath("session.jwt.claims", name)
		}
		value := p.Value
		if d, err := time.ParseDuration(value); err == nil {
			value = strictyaml.Duration(d)
		}
		v.add(key, value, p.Message, p.Remedy)
	}
	if s.IdentityJSON != "" {
		v.resultHeader("session.identity_json", s.IdentityJSON)
	}
	if s.JWT.Key != "" {
		v.resultHeader("session.jwt.header", s.JWT.Header)
	}
}

// resultHeader checks the name of an identity header beside those of session.identity.
func (v *validator) resultHeader(key, name string) {
	if !v.headerName(key, name) {
		return
	}
	headers := v.cfg.Session.IdentityHeaders()
	for other, setting := range headers {
		if other != name && headerTwin(other) == headerTwin(name) {
			v.add(key, name, fmt.Sprintf("is the header %q of %s again: case, - and _ do not tell header names apart", other, setting), "use another name")
		}
	}
	if key == "session.jwt.header" && v.cfg.Session.IdentityJSON == name {
		v.add(key, name, "is also session.identity_json", "use another name")
	}
	if _, both := v.cfg.Session.Identity[name]; both {
		v.add(key, name, "is also in session.identity", "use another name")
	}
}

// onMissing checks a rule's own answer to a request without a session.
func (v *validator) onMissing(at string, p sessioncheck.Policy) {
	for _, problem := range p.OnMissingProblems() {
		v.add(at+"."+problem.Field, problem.Value, problem.Message, problem.Remedy)
	}
}
