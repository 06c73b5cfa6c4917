"""Streamlit pages over the KPI views. All SQL is in `sql/dashboard`."""
