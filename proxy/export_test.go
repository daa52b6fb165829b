package proxy

// HandleOnly has all requests go through Handle, from now on.
func (s *Server) HandleOnly() { s.direct = nil }
