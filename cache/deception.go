package cache

import "bytes"

// TypeAgrees reports whether a Content-Type is one that a file with the extension
// of the path has. It is true for a path without an extension, or with one that is
// not in the table: .css .js .mjs .map .json .xml .txt .csv .pdf .html .htm .png
// .jpg .jpeg .gif .svg .ico .webp .avif .bmp .woff .woff2 .ttf .otf .eot .mp4 .webm
// .mp3 .ogg .wav .zip .gz .wasm. application/octet-stream, which no browser takes
// for a page, agrees with all of them; no Content-Type with none. It does not
// allocate.
func TypeAgrees(path, contentType []byte) bool {
	var buf [8]byte
	ext := extension(path, &buf)
	if len(ext) == 0 {
		return true
	}
	media, _, _ := bytes.Cut(contentType, []byte{';'})
	media = trimSpace(media)
	switch string(ext) {
	case "css":
		return isMedia(media, "text/css")
	case "js", "mjs":
		return isMedia(media, "text/javascript", "application/javascript", "application/x-javascript")
	case "json", "map":
		return isMedia(media, "application/json", "text/json") || hasSuffixFold(media, "+json")
	case "xml":
		return isMedia(media, "application/xml", "text/xml") || hasSuffixFold(media, "+xml") && !equalFold(media, "application/xhtml+xml")
	case "txt":
		return isMedia(media, "text/plain")
	case "csv":
		return isMedia(media, "text/csv", "text/plain")
	case "pdf":
		return isMedia(media, "application/pdf")
	case "html", "htm":
		return isMedia(media, "text/html", "application/xhtml+xml")
	}
	return binaryAgrees(ext, media)
}

// binaryAgrees goes by the type alone where subtypes are many, and none of them is
// a page. SVG is an image that can hold a script, so it has to be asked for.
func binaryAgrees(ext, media []byte) bool {
	switch string(ext) {
	case "svg":
		return isMedia(media, "image/svg+xml")
	case "png", "jpg", "jpeg", "gif", "ico", "webp", "avif", "bmp":
		return isMedia(media) || hasPrefixFold(media, "image/") && !hasSuffixFold(media, "+xml")
	case "woff", "woff2", "ttf", "otf", "eot":
		return isMedia(media) || hasPrefixFold(media, "font/") || hasPrefixFold(media, "application/font-") ||
			hasPrefixFold(media, "application/x-font-") || hasPrefixFold(media, "application/vnd.ms-fontobject")
	case "mp4", "webm", "mp3", "ogg", "wav":
		return isMedia(media, "application/ogg", "application/mp4") || hasPrefixFold(media, "video/") || hasPrefixFold(media, "audio/")
	case "zip", "gz":
		return hasPrefixFold(media, "application/") && !isPage(media)
	case "wasm":
		return isMedia(media, "application/wasm")
	}
	return true
}

// extension gives what follows the last dot of the last segment, in lower case:
// nothing when that is longer than the longest known one.
func extension(path []byte, buf *[8]byte) []byte {
	segment := path[bytes.LastIndexByte(path, '/')+1:]
	dot := bytes.LastIndexByte(segment, '.')
	ext := segment[dot+1:]
	if dot < 0 || len(ext) > len(buf) {
		return nil
	}
	for i, c := range ext {
		buf[i] = lower(c)
	}
	return buf[:len(ext)]
}

// isPage reports the types of pages and of what an API answers.
func isPage(media []byte) bool {
	return equalFold(media, "application/json") || equalFold(media, "application/xml") || hasSuffixFold(media, "+json") || hasSuffixFold(media, "+xml")
}

func isMedia(media []byte, names ...string) bool {
	for _, n := range names {
		if equalFold(media, n) {
			return true
		}
	}
	return equalFold(media, "application/octet-stream")
}

func hasPrefixFold(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && equalFold(b[:len(prefix)], prefix)
}

func hasSuffixFold(b []byte, suffix string) bool {
	return len(b) >= len(suffix) && equalFold(b[len(b)-len(suffix):], suffix)
}

// Poisonous reports whether a request field is one that many applications and
// frameworks copy into their links, redirects or routing, although no cache key
// holds it: one client's value would reach all others (cache poisoning). The proxy
// leaves it out of the request for a response that others will share, unless it
// wrote the field itself, or the rule puts it into the key. The names:
//
//	Forwarded, Forwarded-For, Forwarded-Host, Forwarded-Proto, Base-Url, Proxy-Host,
//	Request-Uri, Destination, X-Forwarded, X-Forwarded-*, X-Forward-*, X-Original-*,
//	X-Originating-*, X-Rewrite-*, X-Host, X-HTTP-Host-Override, X-HTTP-Destinationurl,
//	X-Proxy-Url, X-Real-Ip, X-Client-Ip, X-Cluster-Client-Ip, True-Client-Ip,
//	CF-Connecting-Ip, Fastly-Client-Ip, Client-Ip, X-Remote-Ip, X-Remote-Addr,
//	X-Custom-Ip-Authorization, X-HTTP-Method, X-HTTP-Method-Override,
//	X-Method-Override, X-Scheme, X-Url-Scheme, X-Backend-Host, X-Wap-Profile,
//	X-Middleware-*, X-Nextjs-Data, Front-End-Https, X-Accel-*, X-Sendfile-*
func Poisonous(name []byte) bool {
	if len(name) == 0 {
		return false
	}
	if lower(name[0]) == 'x' {
		for _, prefix := range [...]string{
			"X-Forwarded-", "X-Forward-", "X-Original-", "X-Originating-", "X-Rewrite-", "X-Middleware-", "X-Accel-", "X-Sendfile-",
		} {
			if hasPrefixFold(name, prefix) {
				return true
			}
		}
	}
	for _, known := range [...]string{
		"Forwarded", "Forwarded-For", "Forwarded-Host", "Forwarded-Proto", "Base-Url", "Proxy-Host", "Request-Uri", "Destination",
		"X-Forwarded", "X-Host", "X-HTTP-Host-Override", "X-HTTP-Destinationurl", "X-Proxy-Url", "X-Real-Ip", "X-Client-Ip",
		"X-Cluster-Client-Ip", "True-Client-Ip", "CF-Connecting-Ip", "Fastly-Client-Ip", "Client-Ip", "X-Remote-Ip", "X-Remote-Addr",
		"X-Custom-Ip-Authorization", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-Scheme", "X-Url-Scheme",
		"X-Backend-Host", "X-Wap-Profile", "X-Nextjs-Data", "Front-End-Https",
	} {
		if equalFold(name, known) {
			return true
		}
	}
	return false
}
