package main

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"sort"
	"strings"
	"text/template"
	"time"

	"crypto/sha1"

	"github.com/Masterminds/sprig/v3"
)

// functions is what templates may call: sprig without what looks at the machine, and ESO's own.
func functions(now int64) template.FuncMap {
	funcs := sprig.TxtFuncMap()
	for _, name := range []string{"env", "expandenv", "getHostByName"} {
		delete(funcs, name)
	}
	for name, f := range certificates {
		funcs[name] = f
	}
	for name, f := range formats {
		funcs[name] = f
	}
	funcs["htpasswd"] = htpasswd(funcs["htpasswd"].(func(string, string) string))
	funcs["hexdec"] = func(text string) string {
		bytes, err := hex.DecodeString(text)
		if err != nil {
			return err.Error()
		}
		return string(bytes)
	}
	// Go's order is random here; the tests compare with the sorted one.
	funcs["keys"] = sortedKeys
	funcs["values"] = sortedValues
	if now != 0 {
		stop(funcs, time.Unix(now, 0))
	}
	return funcs
}

// names are those of the functions, sorted; those of text/template itself are not to be had from it. Its slice is
// hidden by sprig's.
func (e *engine) names() []string {
	names := strings.Fields("and call eq ge gt html index js le len lt ne not or print printf println urlquery")
	for name := range e.funcs {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// sprig 3.3.0 takes a name and a password, the copy in ESO the algorithm as well. Both work here.
func htpasswd(two func(string, string) string) any {
	return func(user, password string, algorithm ...string) string {
		if len(algorithm) == 1 && algorithm[0] == "sha" && !slices.Contains([]byte(user), ':') {
			sum := sha1.Sum([]byte(password))
			return user + ":{SHA}" + base64.StdEncoding.EncodeToString(sum[:])
		}
		return two(user, password)
	}
}

func sortedKeys(dicts ...map[string]any) []string {
	all := []string{}
	for _, dict := range dicts {
		var keys []string
		for key := range dict {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		all = append(all, keys...)
	}
	return all
}

func sortedValues(dict map[string]any) []any {
	all := []any{}
	for _, key := range sortedKeys(dict) {
		all = append(all, dict[key])
	}
	return all
}

// stop makes every function that asks for the time see the same one.
func stop(funcs template.FuncMap, now time.Time) {
	known := func(date any) any {
		switch date.(type) {
		case time.Time, *time.Time, int64, int, int32:
			return date
		}
		return now
	}
	funcs["now"] = func() time.Time { return now }

	inZone := funcs["dateInZone"].(func(string, any, string) string)
	frozen := func(layout string, date any, zone string) string { return inZone(layout, known(date), zone) }
	funcs["dateInZone"], funcs["date_in_zone"] = frozen, frozen
	funcs["date"] = func(layout string, date any) string { return frozen(layout, date, "Local") }
	funcs["htmlDate"] = func(date any) string { return frozen("2006-01-02", date, "Local") }
	funcs["htmlDateInZone"] = func(date any, zone string) string { return frozen("2006-01-02", date, zone) }

	funcs["ago"] = func(date any) string {
		switch date := date.(type) {
		case time.Time:
			return now.Sub(date).Round(time.Second).String()
		case int64:
			return now.Sub(time.Unix(date, 0)).Round(time.Second).String()
		case int:
			return now.Sub(time.Unix(int64(date), 0)).Round(time.Second).String()
		}
		return time.Duration(0).String()
	}
	round := funcs["durationRound"].(func(any) string)
	funcs["durationRound"] = func(duration any) string {
		if date, ok := duration.(time.Time); ok {
			return round(int64(now.Sub(date)))
		}
		return round(duration)
	}
}
