// Prints the protobuf fields of the built-in kinds the API server takes; in the folder above:
//
//	go run ./fields > ../../src/apiserver/protobuf/fields.txt
//
// "= " gives a kind its message. Another line without indentation names a message; the indented
// lines below it are its fields: number, JSON name ("-" when its fields are the parent's), and
// type. "[]" marks a list, "{}" a map from strings, "*" a field that JSON shows when it is zero or
// empty, "|" a message whose JSON is that of the one field it has set.
package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"mesh.io/devcluster/tests/protobuf/roots"
)

// Types whose JSON is not an object of their fields.
var special = map[string]bool{
	"Time": true, "MicroTime": true, "Quantity": true, "IntOrString": true, "FieldsV1": true,
	"JSON": true, "ExtraValue": true,
}

var messages = map[string][]string{}

func isUnion(t reflect.Type) bool {
	return strings.HasPrefix(t.Name(), "JSONSchemaPropsOr")
}

func message(t reflect.Type) string {
	parts := strings.Split(t.PkgPath(), "/")
	return parts[len(parts)-2] + "." + t.Name()
}

func walk(t reflect.Type) {
	name := message(t)
	if _, done := messages[name]; done {
		return
	}
	messages[name] = nil
	var lines []string
	for i := range t.NumField() {
		if line := field(t, t.Field(i)); line != "" {
			lines = append(lines, line)
		}
	}
	messages[name] = lines
}

func field(in reflect.Type, f reflect.StructField) string {
	tag := strings.Split(f.Tag.Get("protobuf"), ",")
	if len(tag) < 2 {
		return ""
	}
	json := strings.Split(f.Tag.Get("json"), ",")
	name, shown := json[0], !slices.Contains(json, "omitempty")
	switch {
	case isUnion(in):
		name, shown = f.Name, true
	case name == "" && f.Anonymous:
		name, shown = "-", false
	case name == "":
		panic(f.Name + " has no name in JSON")
	}
	t := f.Type
	if t.Kind() == reflect.Pointer {
		shown, t = true, t.Elem()
	}
	text := kind(t)
	// Go's JSON leaves out empty values, but never structs.
	if shown && zeroable(t) || t.Name() == "IntOrString" {
		text = "*" + text
	}
	return fmt.Sprintf("%s %s %s", tag[1], name, text)
}

// Whether its JSON may be something that looks like nothing.
func zeroable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int32, reflect.Int64, reflect.Float64:
		return true
	case reflect.Map:
		return true
	case reflect.Slice:
		return t.Elem().Kind() != reflect.Uint8
	}
	return false
}

func kind(t reflect.Type) string {
	if special[t.Name()] {
		return t.Name()
	}
	switch t.Kind() {
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "[]" + kind(t.Elem())
	case reflect.Map:
		return "{}" + kind(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int32, reflect.Int64:
		return "int"
	case reflect.Float64:
		return "double"
	case reflect.Struct:
		walk(t)
		if isUnion(t) {
			return "|" + message(t)
		}
		return message(t)
	}
	panic(t.String())
}

func main() {
	fmt.Println("# Made by devcluster/tests/protobuf/fields from k8s.io/api v0.34; do not edit.")
	var kinds, names []string
	for version, objects := range roots.Kinds {
		for _, object := range objects {
			t := reflect.TypeOf(object).Elem()
			walk(t)
			kinds = append(kinds, "= "+version+" "+t.Name()+" "+message(t))
		}
	}
	slices.Sort(kinds)
	for _, line := range kinds {
		fmt.Println(line)
	}
	for name := range messages {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Println(name)
		for _, line := range messages[name] {
			fmt.Println(" " + line)
		}
	}
}
