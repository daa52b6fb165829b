package admin

// Config says where the admin listener is.
type Config struct {
	// Listen is the TCP address of health, metrics and the admin API. "off" opens none.
	Listen string `yaml:"listen" env:"LISTEN"`
	// Token is the bearer token for anything that changes state. Without one,
	// those calls are refused unless they come from loopback to a loopback listener.
	Token string `yaml:"token" env:"TOKEN" secret:"true"`
}

// Default gives the settings that apply where the user sets none.
func Default() Config { return Config{Listen: "127.0.0.1:9900"} }
