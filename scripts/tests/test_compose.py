"""The stack on the dynamic module: its configuration differs by the filter alone."""

import unittest

from scripts import load

compose = load("compose")


class OnTheModule(unittest.TestCase):
    def test_the_module_takes_the_plugins_place_and_its_configuration(self):
        plugin = compose.CONFIG.read_text(encoding="utf-8")
        module = compose.on_the_module(plugin)
        self.assertNotIn("filters.http.wasm", module)
        self.assertEqual(module.count("dynamic_modules.v3.DynamicModuleFilter"), 1)
        start = plugin.index('"@type": type.googleapis.com/google.protobuf.StringValue')
        self.assertTrue(module.endswith(plugin[start:]), "the plugin's own configuration, and what follows")
        self.assertTrue(module.startswith(plugin[:plugin.index("- name: envoy.filters.http.wasm")]))

    def test_a_configuration_without_the_plugin_is_not_changed_in_silence(self):
        with self.assertRaises(compose.Failed):
            compose.on_the_module("static_resources: {}\n")


if __name__ == "__main__":
    unittest.main()
