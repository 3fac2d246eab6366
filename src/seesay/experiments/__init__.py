"""Many runs compared: objectives side by side under equal conditions. `seesay compare`."""
