"""Where points come from: event files under log directories. All file reading is here."""
